//! Decisions about locations, without IO.

use std::time::Duration;

use jiff::Timestamp;
use velero_core::GoDuration;
use velero_core::api::{BackupStorageLocation, BackupStorageLocationSpec};

use crate::server::context::{after, until};

/// What to do about one location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Check the store now.
    Check,
    /// Look again then.
    Wait(Duration),
    /// Nothing, until somebody changes the location.
    Rest,
}

/// Decides whether a location is due. `checked` is the spec that this process last checked.
///
/// A location that was never checked is due whatever its frequency; one with frequency 0 never again. One that is not
/// available is due when a process first sees it: its spec may have been mended while none was there to look.
pub(super) fn next(
    location: &BackupStorageLocation,
    checked: Option<&BackupStorageLocationSpec>,
    default_frequency: GoDuration,
    now: Timestamp,
) -> Step {
    let changed = match checked {
        Some(checked) => store_part(checked) != store_part(&location.spec),
        None => !location.is_available(),
    };
    let Some(last) = location
        .status
        .last_validation_time
        .as_ref()
        .filter(|_| !changed)
    else {
        return Step::Check;
    };
    let frequency = match location.spec.validation_frequency {
        Some(own) if !own.is_negative() => own,
        _ => default_frequency,
    };
    if frequency.is_zero() {
        return Step::Rest;
    }
    let due = after(last.0, frequency.as_nanos());
    if now >= due {
        Step::Check
    } else {
        Step::Wait(until(due, now))
    }
}

/// The spec without what does not matter for the store's being usable.
fn store_part(spec: &BackupStorageLocationSpec) -> BackupStorageLocationSpec {
    BackupStorageLocationSpec {
        default: false,
        backup_sync_period: None,
        validation_frequency: None,
        ..spec.clone()
    }
}

/// Which marks of the default are to change: names to mark, and names to unmark.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Defaults {
    pub(super) mark: Option<String>,
    pub(super) unmark: Vec<String>,
}

/// Settles the default: the newest of several marked ones keeps the mark; where none is marked, the location that the
/// flag names gets it.
pub(super) fn settle_defaults(locations: &[BackupStorageLocation], flag: &str) -> Defaults {
    let mut marked: Vec<_> = locations
        .iter()
        .filter(|location| location.spec.default)
        .collect();
    if marked.is_empty() {
        let named = locations.iter().find(|location| name(location) == flag);
        return Defaults {
            mark: named.map(|location| name(location).to_owned()),
            unmark: Vec::new(),
        };
    }
    // The name decides between twins, so that all replicas of the rule agree.
    marked.sort_by_key(|location| {
        (
            location.metadata.creation_timestamp.clone(),
            name(location).to_owned(),
        )
    });
    marked.pop();
    Defaults {
        mark: None,
        unmark: marked
            .into_iter()
            .map(|location| name(location).to_owned())
            .collect(),
    }
}

/// The location of backups that name none: the marked one, else the one that the flag names.
pub(in crate::server) fn default_location<'a>(
    locations: &'a [BackupStorageLocation],
    flag: &str,
) -> Option<&'a BackupStorageLocation> {
    let marked = locations.iter().filter(|location| location.spec.default);
    let newest = marked.max_by_key(|location| {
        (
            location.metadata.creation_timestamp.clone(),
            name(location).to_owned(),
        )
    });
    newest.or_else(|| locations.iter().find(|location| name(location) == flag))
}

fn name(location: &BackupStorageLocation) -> &str {
    location.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use velero_core::api::{BackupStorageLocationPhase, Time};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn location(name: &str, created: i64, default: bool) -> BackupStorageLocation {
        let spec = BackupStorageLocationSpec {
            default,
            ..Default::default()
        };
        let mut location = BackupStorageLocation::new("velero", name, spec);
        location.metadata.creation_timestamp = Some(Time(at(created)));
        location
    }

    #[test]
    fn due_rule() {
        let minute = GoDuration::from_mins(1);
        let check = |last: Option<i64>, own: Option<GoDuration>, default: GoDuration, now: i64| {
            let mut l = location("a", 0, false);
            l.status.last_validation_time = last.map(|s| Time(at(s)));
            l.spec.validation_frequency = own;
            next(&l, Some(&l.spec.clone()), default, at(now))
        };
        let wait = |s| Step::Wait(Duration::from_secs(s));
        for (last, own, default, now, expected) in [
            (None, None, minute, 0, Step::Check),
            (None, Some(GoDuration::ZERO), minute, 0, Step::Check),
            (Some(0), None, minute, 59, wait(1)),
            (Some(0), None, minute, 60, Step::Check),
            (Some(0), Some(GoDuration::ZERO), minute, 9999, Step::Rest),
            (Some(0), None, GoDuration::ZERO, 9999, Step::Rest),
            (
                Some(0),
                Some(GoDuration::from_secs(-5)),
                minute,
                30,
                wait(30),
            ),
            (
                Some(0),
                Some(GoDuration::from_hours(1)),
                minute,
                3599,
                wait(1),
            ),
            (Some(100), None, minute, 0, wait(160)),
        ] {
            assert_eq!(
                check(last, own, default, now),
                expected,
                "{last:?} {own:?} {default} {now}"
            );
        }
    }

    #[test]
    fn a_changed_spec_is_due_at_once() {
        let mut l = location("a", 0, false);
        l.status.last_validation_time = Some(Time(at(0)));
        let mut before = l.spec.clone();
        assert_ne!(
            next(&l, Some(&before), GoDuration::ZERO, at(1)),
            Step::Check
        );
        before.default = true;
        assert_ne!(
            next(&l, Some(&before), GoDuration::ZERO, at(1)),
            Step::Check
        );
        before.object_storage.bucket = "other".into();
        assert_eq!(
            next(&l, Some(&before), GoDuration::ZERO, at(1)),
            Step::Check
        );
    }

    #[test]
    fn a_process_does_not_believe_in_old_faults() {
        let mut l = location("a", 0, false);
        l.status.last_validation_time = Some(Time(at(0)));
        for (phase, expected) in [
            (BackupStorageLocationPhase::Available, Step::Rest),
            (BackupStorageLocationPhase::Unavailable, Step::Check),
        ] {
            l.status.phase = Some(phase);
            assert_eq!(next(&l, None, GoDuration::ZERO, at(1)), expected);
            let known = l.spec.clone();
            assert_eq!(next(&l, Some(&known), GoDuration::ZERO, at(1)), Step::Rest);
        }
    }

    #[test]
    fn one_default() {
        let two = [
            location("old", 0, true),
            location("new", 5, true),
            location("none", 9, false),
        ];
        assert_eq!(
            settle_defaults(&two, "none"),
            Defaults {
                mark: None,
                unmark: vec!["old".into()]
            }
        );
        assert_eq!(default_location(&two, "none").map(name), Some("new"));

        let unmarked = [location("a", 0, false), location("default", 5, false)];
        assert_eq!(
            settle_defaults(&unmarked, "default"),
            Defaults {
                mark: Some("default".into()),
                unmark: vec![]
            }
        );
        assert_eq!(settle_defaults(&unmarked, "x"), Defaults::default());
        assert_eq!(
            default_location(&unmarked, "default").map(name),
            Some("default")
        );
        assert_eq!(default_location(&unmarked, "x"), None);
        assert_eq!(settle_defaults(&[], "default"), Defaults::default());
    }
}
