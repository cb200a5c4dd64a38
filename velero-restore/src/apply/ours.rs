//! What a run may take for its own, and what belongs to Velero.

use std::time::Duration;

use velero_core::result::chain;
use velero_core::{ItemTree, RawItem, Timestamp};

use super::item::RESTORE_LABELS;
use super::run::Run;
use crate::homes::Homes;

/// How far the clock of the API server may be behind ours.
const CLOCKS: Duration = Duration::from_secs(600);

impl Run {
    /// Whether an object is one that this run has created, where no clear answer has come: it has the restore's labels,
    /// and is not older than the run. An earlier restore of the same name has left the same labels.
    pub(super) fn is_made_now(&self, live: &RawItem) -> bool {
        let labels = &live.head().labels;
        let is = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
        is(RESTORE_LABELS[0], self.request.backup_label())
            && is(RESTORE_LABELS[1], self.request.restore_label())
            && live.tree().is_ok_and(|live| !is_older(&live, self.began))
    }

    /// Where Velero lives; asks once in a run. Where that cannot be seen, the namespace of the restore alone.
    pub(super) async fn homes(&self) -> &Homes {
        let own = self.request.own_namespace();
        let find = || async {
            let found = Homes::find(&self.cluster, &self.cluster.catalog(), own).await;
            found.unwrap_or_else(|error| {
                let error = chain(&error);
                tracing::info!(error, "no other namespaces of Velero can be seen");
                Homes::of(own)
            })
        };
        self.homes.get_or_init(find).await
    }
}

/// Whether an object was there before a time; one that does not say since when was.
fn is_older(live: &ItemTree, began: Timestamp) -> bool {
    let created = live.str_at("/metadata/creationTimestamp");
    let (Ok(created), Ok(earliest)) = (created.parse::<Timestamp>(), began.checked_sub(CLOCKS))
    else {
        return true;
    };
    created < earliest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn clocks_may_differ_a_little() {
        let began = "2026-01-01T12:00:00Z".parse().unwrap();
        for (created, expected) in [
            ("2026-01-01T12:00:00Z", false),
            ("2026-01-01T11:51:00Z", false),
            ("2026-01-01T11:49:00Z", true),
            ("2025-12-01T12:00:00Z", true),
            ("", true),
        ] {
            let live = ItemTree::new(json!({"metadata": {"creationTimestamp": created}})).unwrap();
            assert_eq!(is_older(&live, began), expected, "{created}");
        }
    }
}
