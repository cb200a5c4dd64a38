//! Which PersistentVolumes have no data in the backup, and why.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The reasons of one volume, ordered by approach. There are seldom more than two.
type Reasons = Vec<(Approach, Cow<'static, str>)>;

/// The way of backup that a reason speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Approach {
    Any,
    CsiSnapshot,
    PodVolume,
    VolumeSnapshot,
}

impl Approach {
    fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::CsiSnapshot => "csiSnapshot",
            Self::PodVolume => "podvolume",
            Self::VolumeSnapshot => "volumeSnapshot",
        }
    }
}

/// Remembers for each PersistentVolume why its data was left out, until some way of backup has taken it.
///
/// Mirrors upstream's `pkg/backup/pv_skip_tracker.go`.
#[derive(Debug, Default)]
pub(super) struct SkipTracker {
    skipped: BTreeMap<String, Reasons>,
    taken: BTreeSet<String>,
}

impl SkipTracker {
    /// Notes why a volume is left out; the later reason of an approach replaces the earlier. A volume that was taken
    /// once is never left out any more.
    pub(super) fn track(
        &mut self,
        volume: &str,
        approach: Approach,
        reason: impl Into<Cow<'static, str>>,
    ) {
        let reason = reason.into();
        if volume.is_empty() || reason.is_empty() || self.taken.contains(volume) {
            return;
        }
        let reasons = self.skipped.entry(volume.to_owned()).or_default();
        match reasons.binary_search_by_key(&approach, |(known, _)| *known) {
            Ok(at) => reasons[at].1 = reason,
            Err(at) => reasons.insert(at, (approach, reason)),
        }
    }

    /// Notes that the data of a volume is being taken.
    pub(super) fn untrack(&mut self, volume: &str) {
        if !volume.is_empty() {
            self.skipped.remove(volume);
            self.taken.insert(volume.to_owned());
        }
    }

    /// Whether there is a reason of this approach.
    pub(super) fn has(&self, volume: &str, approach: Approach) -> bool {
        self.skipped
            .get(volume)
            .is_some_and(|reasons| reasons.iter().any(|(known, _)| *known == approach))
    }

    /// Each volume that was left out and its reasons, ordered by both.
    pub(super) fn summary(self) -> impl Iterator<Item = (String, String)> {
        self.skipped.into_iter().map(|(volume, reasons)| {
            let text = reasons
                .iter()
                .map(|(approach, reason)| format!("{}: {reason};", approach.as_str()))
                .collect();
            (volume, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(tracker: SkipTracker) -> Vec<(String, String)> {
        tracker.summary().collect()
    }

    #[test]
    fn reasons_are_ordered_by_volume_and_approach() {
        let mut tracker = SkipTracker::default();
        tracker.track("pv-2", Approach::VolumeSnapshot, "v");
        tracker.track("pv-1", Approach::PodVolume, "p");
        tracker.track("pv-1", Approach::Any, "old");
        tracker.track("pv-1", Approach::CsiSnapshot, "c");
        tracker.track("pv-1", Approach::Any, "a");
        assert!(tracker.has("pv-1", Approach::PodVolume));
        assert!(!tracker.has("pv-2", Approach::PodVolume));
        assert_eq!(
            summary(tracker),
            [
                (
                    "pv-1".to_owned(),
                    "any: a;csiSnapshot: c;podvolume: p;".to_owned()
                ),
                ("pv-2".to_owned(), "volumeSnapshot: v;".to_owned()),
            ]
        );
    }

    #[test]
    fn what_was_taken_once_is_never_left_out_again() {
        let mut tracker = SkipTracker::default();
        tracker.track("pv-1", Approach::Any, "a");
        tracker.untrack("pv-1");
        tracker.track("pv-1", Approach::PodVolume, "p");
        tracker.untrack("pv-2");
        tracker.track("pv-2", Approach::VolumeSnapshot, "v");
        assert!(summary(tracker).is_empty());
    }

    #[test]
    fn nameless_volumes_and_empty_reasons_are_ignored() {
        let mut tracker = SkipTracker::default();
        tracker.track("", Approach::Any, "a");
        tracker.track("pv-1", Approach::Any, "");
        tracker.untrack("");
        assert!(summary(tracker).is_empty());
    }
}
