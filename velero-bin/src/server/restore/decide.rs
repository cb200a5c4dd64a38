//! What to do about a restore, without IO.

use velero_core::api::{Restore, RestorePhase};
use velero_core::filter::Pattern;
use velero_core::names::finalizers;

use super::claim::is_marked;
use crate::server::attempts::{ATTEMPTS, attempt};
use crate::server::cancel::cancelled_by;
use crate::server::turns::{Span, is_turn};
use crate::server::waits;

/// What to do about one restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Delete its files, then take the finalizer off.
    CleanUp,
    /// End its run first.
    Cancel,
    /// Put the finalizer on.
    Protect,
    /// Check its spec and begin.
    Start,
    /// Another one is to go first.
    Wait,
    /// Nobody works on it any more: go on with it.
    Resume,
    /// Nobody works on it any more, and it was gone on with often enough: end it.
    Recover,
    /// It has ended, and its server could not tidy up after it.
    Tidy,
    /// Look after its operations and hooks, to its end.
    Follow,
    /// Somebody wants its run here ended, and its end told.
    Stop(String),
    /// Somebody wants it ended, and nobody works on it.
    End(String),
    /// Nothing.
    Rest,
}

/// How many restores this process runs, and may run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slots {
    pub(super) running: usize,
    pub(super) limit: usize,
}

/// Decides about one restore of `all`. `tracked` says whether this process runs it, `held` whether another server does.
pub(super) fn next(
    restore: &Restore,
    all: &[Restore],
    tracked: bool,
    held: bool,
    slots: Slots,
) -> Step {
    let holder_lives = held;
    let held = held && !restore.phase().is_terminal();
    if restore.metadata.deletion_timestamp.is_some() {
        return match (is_protected(restore), tracked) {
            (false, _) => Step::Rest,
            (true, true) => Step::Cancel,
            // It cancels its run itself.
            (true, false) if held => Step::Wait,
            (true, false) => Step::CleanUp,
        };
    }
    let cancelled = cancelled_by(&restore.metadata);
    if tracked {
        return match cancelled {
            Some(who) if restore.phase().is_under_way() => Step::Stop(who),
            _ => Step::Rest,
        };
    }
    if held {
        return Step::Wait;
    }
    if restore.phase().is_terminal() && is_protected(restore) && is_marked(restore) {
        return match holder_lives {
            true => Step::Wait,
            false => Step::Tidy,
        };
    }
    if !is_protected(restore) {
        return Step::Protect;
    }
    if let (RestorePhase::New | RestorePhase::InProgress, Some(who)) = (restore.phase(), cancelled)
    {
        return Step::End(who);
    }
    match restore.phase() {
        RestorePhase::New if is_next(restore, all, slots) => Step::Start,
        RestorePhase::New => Step::Wait,
        RestorePhase::InProgress if attempt(&restore.metadata) >= ATTEMPTS => Step::Recover,
        RestorePhase::InProgress if slots.running >= slots.limit => Step::Wait,
        RestorePhase::InProgress => Step::Resume,
        RestorePhase::WaitingForPluginOperations
        | RestorePhase::WaitingForPluginOperationsPartiallyFailed
        | RestorePhase::Finalizing
        | RestorePhase::FinalizingPartiallyFailed => Step::Follow,
        _ => Step::Rest,
    }
}

/// Whether nothing can be left to do, as far as an older sight of the object tells.
pub(super) fn is_settled(restore: &Restore) -> bool {
    restore.metadata.deletion_timestamp.is_none()
        && is_protected(restore)
        && restore.phase().is_terminal()
        && !is_marked(restore)
}

pub(super) fn is_protected(restore: &Restore) -> bool {
    restore
        .metadata
        .finalizers
        .iter()
        .flatten()
        .any(|name| name == finalizers::RESTORE_EXTERNAL_RESOURCES)
}

fn is_waiting(restore: &Restore) -> bool {
    *restore.phase() == RestorePhase::New && restore.metadata.deletion_timestamp.is_none()
}

/// Whether a restore may begin: what is restored into one namespace is restored in the order in which it was asked for.
fn is_next(restore: &Restore, all: &[Restore], slots: Slots) -> bool {
    if slots.running >= slots.limit {
        return false;
    }
    let running: Vec<Span> = all
        .iter()
        .filter(|other| *other.phase() == RestorePhase::InProgress)
        .map(span)
        .collect();
    let mut queue: Vec<&Restore> = all.iter().filter(|other| is_waiting(other)).collect();
    queue.sort_by(|a, b| place(a).cmp(&place(b)));
    let queue = queue.into_iter().map(|other| (place(other).1, span(other)));
    // Those that nobody works on at the moment take no place, but their namespaces are not free.
    let limit = slots.limit - slots.running + running.len();
    is_turn(place(restore).1, queue, &running, limit)
}

/// What a restore waits for that has not begun: those before it, which run or wait as well.
pub(super) fn waits_for(restore: &Restore, all: &[Restore]) -> String {
    let is_before = |other: &&Restore| match other.phase() {
        RestorePhase::InProgress => true,
        _ => is_waiting(other) && place(other) < place(restore),
    };
    let mut before: Vec<&Restore> = all.iter().filter(is_before).collect();
    before.sort_by_key(|other| (is_waiting(other), place(other)));
    let names = before.into_iter().map(|other| place(other).1);
    waits::turn("restores", names)
}

/// The namespaces that a restore writes to. Patterns stand for what the archive has: that is not known yet.
fn span(restore: &Restore) -> Span {
    let spec = &restore.spec;
    let is_plain = |name: &String| !Pattern::new(name.as_str()).is_glob();
    if spec.included_namespaces.is_empty() || !spec.included_namespaces.iter().all(is_plain) {
        return Span::All;
    }
    let included = spec.included_namespaces.iter();
    let target = |name: &String| spec.namespace_mapping.get(name).unwrap_or(name).clone();
    Span::Names(included.map(target).collect())
}

fn place(restore: &Restore) -> (Option<jiff::Timestamp>, &str) {
    let created = restore
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0);
    (
        created,
        restore.metadata.name.as_deref().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use velero_core::api::{RestoreSpec, Time};

    use super::*;

    fn restore(name: &str, phase: Option<RestorePhase>, created: i64, protected: bool) -> Restore {
        let mut restore = Restore::new("velero", name, RestoreSpec::default());
        restore.status.phase = phase;
        restore.metadata.creation_timestamp = Some(Time(Timestamp::from_second(created).unwrap()));
        restore.metadata.finalizers =
            protected.then(|| vec![finalizers::RESTORE_EXTERNAL_RESOURCES.to_owned()]);
        restore
    }

    /// The slots of a server that runs one restore at a time.
    fn slots(busy: bool) -> Slots {
        Slots {
            running: usize::from(busy),
            limit: 1,
        }
    }

    #[test]
    fn restores_into_other_namespaces_run_side_by_side() {
        let of = |name: &str, created: i64, includes: &[&str], mapping: &[(&str, &str)]| {
            let mut restore = restore(name, None, created, true);
            let owned = |text: &&str| (*text).to_owned();
            restore.spec.included_namespaces = includes.iter().map(owned).collect();
            let pairs = mapping.iter().map(|(from, to)| (owned(from), owned(to)));
            restore.spec.namespace_mapping = pairs.collect();
            restore
        };
        let mut running = of("running", 0, &["shop"], &[]);
        running.status.phase = Some(RestorePhase::InProgress);
        let all = [
            running,
            of("everything", 9, &[], &[]),
            of("pattern", 8, &["b*"], &[]),
            of("same", 1, &["shop"], &[]),
            of("mapped-away", 2, &["shop"], &[("shop", "shop-2")]),
            of("mapped-onto", 3, &["bank"], &[("bank", "shop-2")]),
            of("other", 4, &["bank"], &[("web", "shop")]),
        ];
        let going = |running: usize, limit: usize| -> Vec<&str> {
            let slots = Slots { running, limit };
            let goes = |r: &&Restore| next(r, &all, false, false, slots) == Step::Start;
            all.iter().filter(goes).map(|r| place(r).1).collect()
        };
        assert_eq!(going(1, 9), ["mapped-away", "other"]);
        assert_eq!(going(1, 2), ["mapped-away"]);
        assert_eq!(going(2, 2), [""; 0]);
        // One that nobody works on takes no place, but its namespace is not free.
        assert_eq!(going(0, 1), ["mapped-away"]);
    }

    #[test]
    fn steps() {
        use RestorePhase::*;
        for (phase, protected, tracked, busy, expected) in [
            (None, false, false, false, Step::Protect),
            (Some(Completed), false, false, false, Step::Protect),
            (None, true, false, false, Step::Start),
            (Some(New), true, false, true, Step::Wait),
            (Some(InProgress), true, true, true, Step::Rest),
            (Some(InProgress), true, false, false, Step::Resume),
            (Some(InProgress), true, false, true, Step::Wait),
            (Some(Finalizing), true, false, true, Step::Follow),
            (Some(Finalizing), true, true, false, Step::Rest),
            (
                Some(FinalizingPartiallyFailed),
                true,
                false,
                false,
                Step::Follow,
            ),
            (
                Some(WaitingForPluginOperations),
                true,
                false,
                true,
                Step::Follow,
            ),
            (
                Some(WaitingForPluginOperationsPartiallyFailed),
                true,
                false,
                false,
                Step::Follow,
            ),
            (Some(Completed), true, false, false, Step::Rest),
            (Some(FailedValidation), true, false, false, Step::Rest),
        ] {
            let subject = restore("r", phase.clone(), 5, protected);
            let found = next(
                &subject,
                std::slice::from_ref(&subject),
                tracked,
                false,
                slots(busy),
            );
            assert_eq!(found, expected, "{phase:?} {protected} {tracked} {busy}");
        }
    }

    #[test]
    fn the_work_begins_three_times_at_most() {
        for (said, expected) in [
            (None, Step::Resume),
            (Some("what?"), Step::Resume),
            (Some("2"), Step::Resume),
            (Some("3"), Step::Recover),
            (Some("7"), Step::Recover),
        ] {
            let mut subject = restore("r", Some(RestorePhase::InProgress), 0, true);
            if let Some(said) = said {
                let annotations = subject.metadata.annotations.get_or_insert_default();
                annotations.insert("x.velero.io/attempt".to_owned(), said.to_owned());
            }
            let all = std::slice::from_ref(&subject);
            assert_eq!(
                next(&subject, all, false, false, slots(false)),
                expected,
                "{said:?}"
            );
        }
    }

    #[test]
    fn cancelled_restores_end() {
        use RestorePhase::*;
        let anna = || "anna".to_owned();
        for (phase, tracked, held, expected) in [
            (New, false, false, Step::End(anna())),
            (New, false, true, Step::Wait),
            (InProgress, true, false, Step::Stop(anna())),
            (InProgress, false, false, Step::End(anna())),
            (InProgress, false, true, Step::Wait),
            (Completed, false, false, Step::Rest),
        ] {
            let mut subject = restore("r", Some(phase.clone()), 0, true);
            let said = ("x.velero.io/cancel".to_owned(), anna());
            subject.metadata.annotations = Some([said].into());
            let all = [subject.clone()];
            let found = next(&subject, &all, tracked, held, slots(tracked));
            assert_eq!(found, expected, "{phase:?} {tracked} {held}");
        }
    }

    #[test]
    fn the_oldest_goes_first() {
        let all = [
            restore("b", None, 2, true),
            restore("c", None, 1, true),
            restore("a", None, 2, true),
        ];
        let steps: Vec<_> = all
            .iter()
            .map(|r| next(r, &all, false, false, slots(false)))
            .collect();
        assert_eq!(steps, [Step::Wait, Step::Start, Step::Wait]);
        let two = [all[0].clone(), all[2].clone()];
        assert_eq!(next(&all[2], &two, false, false, slots(false)), Step::Start);
    }

    #[test]
    fn what_another_server_works_on_is_left_alone() {
        use RestorePhase::*;
        for (phase, tracked, expected) in [
            (InProgress, false, Step::Wait),
            (WaitingForPluginOperations, false, Step::Wait),
            (Finalizing, false, Step::Wait),
            (InProgress, true, Step::Rest),
            (Completed, false, Step::Rest),
        ] {
            let mut subject = restore("r", Some(phase.clone()), 0, true);
            let all = [subject.clone()];
            assert_eq!(
                next(&subject, &all, tracked, true, slots(false)),
                expected,
                "{phase:?}"
            );
            subject.metadata.deletion_timestamp = subject.metadata.creation_timestamp.clone();
            let expected = match (tracked, phase.is_terminal()) {
                (true, _) => Step::Cancel,
                (false, false) => Step::Wait,
                (false, true) => Step::CleanUp,
            };
            assert_eq!(
                next(&subject, &all, tracked, true, slots(false)),
                expected,
                "{phase:?}"
            );
        }
    }

    #[test]
    fn what_was_left_behind_by_the_end_is_tidied_up() {
        use RestorePhase::{Completed, InProgress};
        for (phase, tracked, held, expected) in [
            (Completed, false, false, Step::Tidy),
            (Completed, false, true, Step::Wait),
            (Completed, true, false, Step::Rest),
            (InProgress, false, false, Step::Resume),
        ] {
            let mut subject = restore("r", Some(phase.clone()), 0, true);
            let mark = ("x.velero.io/claim".to_owned(), "{}".to_owned());
            subject.metadata.annotations = Some([mark].into());
            assert!(!is_settled(&subject));
            let all = [subject.clone()];
            let found = next(&subject, &all, tracked, held, slots(false));
            assert_eq!(found, expected, "{phase:?} {tracked} {held}");
        }
    }

    #[test]
    fn deletion() {
        for (protected, tracked, expected) in [
            (true, false, Step::CleanUp),
            (true, true, Step::Cancel),
            (false, false, Step::Rest),
        ] {
            let mut subject = restore("r", Some(RestorePhase::Completed), 0, protected);
            assert_eq!(is_settled(&subject), protected);
            subject.metadata.deletion_timestamp = subject.metadata.creation_timestamp.clone();
            assert_eq!(next(&subject, &[], tracked, false, slots(false)), expected);
            assert!(!is_settled(&subject));
        }
    }
}
