//! What a backup has looked at. What it lacks was not there only if it has looked.

use std::collections::BTreeMap;

use velero_core::api::{Backup, BackupPhase};
use velero_core::{GroupResource, Timestamp};

use crate::globs;

/// How a backup has read the objects of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KindRead {
    /// To the end, with nothing lost: what it lacks was not there, or its filters leave it out.
    Whole,
    /// To the end, and something was left out by its labels, which may be others now: what it lacks may have been there.
    ByLabels,
    /// Not to the end, or something was lost: nobody knows what it lacks.
    Partly,
    /// Its filters leave the kind out.
    Not,
}

impl KindRead {
    /// How much a statement counts beside others on the same kind.
    fn weight(self) -> u8 {
        match self {
            Self::Not => 0,
            Self::Whole => 1,
            Self::ByLabels => 2,
            Self::Partly => 3,
        }
    }
}

/// What a backup says of itself, for restores with the policy `mirror`.
///
/// An object that the backup does not have is deleted only where the backup would have it, had it been there. So its
/// filters count, and how it has read each kind. A backup that does not tell the latter must be `Completed` without
/// errors, and kinds without any item in its archive are left alone unless the restore includes them by name. So are kinds
/// of which it has left objects out by their labels, and kinds that it does not name although it names others, unless their
/// definitions came after it in the same cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct BackedUp {
    backup: Backup,
    kinds: Option<BTreeMap<GroupResource, KindRead>>,
}

impl BackedUp {
    /// A backup that does not tell how it has read each kind.
    pub fn new(backup: Backup) -> Self {
        Self {
            backup,
            kinds: None,
        }
    }

    /// Tells how each kind was read. Of several statements on one kind the worst counts; `*` as the resource stands for
    /// what else a group may serve.
    #[must_use]
    pub fn kinds(mut self, told: impl IntoIterator<Item = (GroupResource, KindRead)>) -> Self {
        let mut kinds = BTreeMap::new();
        for (resource, read) in told {
            let known = kinds.entry(resource).or_insert(read);
            if read.weight() > known.weight() {
                *known = read;
            }
        }
        self.kinds = Some(kinds);
        self
    }

    /// When the backup was begun, where it says so.
    pub(super) fn began(&self) -> Option<Timestamp> {
        self.backup
            .status
            .start_timestamp
            .as_ref()
            .map(|time| time.0)
    }

    /// The backup.
    pub(super) fn backup(&self) -> &Backup {
        &self.backup
    }

    /// Whether it tells how it has read kinds.
    pub(super) fn tells(&self) -> bool {
        self.kinds.is_some()
    }

    /// How it has read a kind, where it says so.
    pub(super) fn kind(&self, resource: &GroupResource) -> Option<KindRead> {
        let kinds = self.kinds.as_ref()?;
        let group = GroupResource::new(resource.group.as_str(), "*");
        kinds.get(resource).or_else(|| kinds.get(&group)).copied()
    }

    /// Why nothing can be said of what the backup lacks, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        let (status, phase) = (&self.backup.status, self.backup.phase());
        let globs = globs::of_backup(&self.backup.spec);
        if let Some(glob) = globs.first() {
            return Some(format!(
                "existing resource policy \"mirror\": of the backup's spec, {glob}"
            ));
        }
        if self.tells() || *phase == BackupPhase::Completed && status.errors == 0 {
            return None;
        }
        Some(format!(
            "existing resource policy \"mirror\": the backup is {phase} with {} errors and does not say how it has read each \
             kind, so that what it lacks may have been there; a backup that is Completed without errors is needed",
            status.errors
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn backup(phase: &str, errors: i64) -> BackedUp {
        let backup = json!({"metadata": {"name": "b"}, "spec": {}, "status": {"phase": phase, "errors": errors}});
        BackedUp::new(serde_json::from_value(backup).unwrap())
    }

    #[test]
    fn the_worst_statement_counts() {
        use KindRead::{Not, Partly, Whole};
        for (told, expected) in [
            (&[][..], None),
            (&[("pods", Whole)], Some(Whole)),
            (&[("pods", Whole), ("pods", Partly)], Some(Partly)),
            (&[("pods", Partly), ("pods", Whole)], Some(Partly)),
            (&[("pods", Not), ("pods", Whole)], Some(Whole)),
            (&[("pods", Whole), ("pods", Not)], Some(Whole)),
            (&[("*", Partly)], Some(Partly)),
        ] {
            let told = told
                .iter()
                .map(|(name, read)| (GroupResource::core(*name), *read));
            let found = backup("Completed", 0).kinds(told.clone());
            assert_eq!(found.kind(&GroupResource::core("pods")), expected);
            assert_eq!(found.kind(&GroupResource::new("apps", "pods")), None);
        }
    }

    #[test]
    fn a_backup_with_errors_must_tell_what_it_has_read() {
        for (phase, errors, tells, is_good) in [
            ("Completed", 0, false, true),
            ("Completed", 1, false, false),
            ("PartiallyFailed", 2, false, false),
            ("PartiallyFailed", 2, true, true),
            ("WaitingForPluginOperations", 0, false, false),
        ] {
            let mut found = backup(phase, errors);
            if tells {
                found = found.kinds([]);
            }
            let fault = found.fault();
            assert_eq!(fault.is_none(), is_good, "{phase} {fault:?}");
            assert!(fault.is_none_or(|fault| fault.contains(phase)));
        }
    }
}
