//! Whose turn it is, without IO.

use velero_core::api::{Backup, BackupPhase};
use velero_core::filter::NamespaceFilter;

use crate::server::cancel::cancelled_by;
use crate::server::turns::{Span, is_turn};
use crate::server::waits;

/// What runs, and what may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slots<'a> {
    /// Names of the backups that this process runs.
    pub(super) running: &'a [String],
    /// How many may run at the same time.
    pub(super) limit: usize,
    /// The namespaces of the cluster, sorted; without them all backups are taken to have some in common.
    pub(super) namespaces: Option<&'a [String]>,
}

impl Slots<'_> {
    fn are_taken(&self) -> bool {
        self.running.len() >= self.limit
    }
}

/// What to do about one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Put it at this place of the queue.
    Enqueue(i64),
    /// It is next: let it start, and renumber the others.
    Dequeue,
    /// Another one is to go first.
    Wait,
    /// Check its spec and begin.
    Prepare,
    /// Its items are stored: look after its operations, and end it.
    Follow,
    /// Nobody works on it any more.
    Recover,
    /// Somebody wants its run here ended.
    Cancel(String),
    /// Somebody wants it ended before it has begun.
    End(String),
    /// Nothing.
    Rest,
}

/// Decides about one backup of `all`. `tracked` says whether this process works on it.
pub(super) fn next(backup: &Backup, all: &[Backup], tracked: bool, slots: Slots<'_>) -> Step {
    if backup.metadata.deletion_timestamp.is_some() {
        return Step::Rest;
    }
    let cancelled = cancelled_by(&backup.metadata);
    match (backup.phase(), cancelled) {
        (phase, Some(who)) if tracked && phase.is_under_way() => return Step::Cancel(who),
        (BackupPhase::New | BackupPhase::Queued | BackupPhase::ReadyToStart, Some(who))
            if !tracked =>
        {
            return Step::End(who);
        }
        _ => {}
    }
    if tracked {
        return Step::Rest;
    }
    match backup.phase() {
        BackupPhase::New => Step::Enqueue(last_position(all) + 1),
        BackupPhase::Queued if is_next(backup, all, slots) => Step::Dequeue,
        BackupPhase::Queued => Step::Wait,
        BackupPhase::ReadyToStart if slots.are_taken() => Step::Wait,
        BackupPhase::ReadyToStart => Step::Prepare,
        BackupPhase::InProgress => Step::Recover,
        BackupPhase::WaitingForPluginOperations
        | BackupPhase::WaitingForPluginOperationsPartiallyFailed
        | BackupPhase::Finalizing
        | BackupPhase::FinalizingPartiallyFailed => Step::Follow,
        _ => Step::Rest,
    }
}

/// Whether a queued backup may begin.
fn is_next(backup: &Backup, all: &[Backup], slots: Slots<'_>) -> bool {
    let is_running = |other: &&Backup| {
        let name = other.metadata.name.as_ref();
        *other.phase() == BackupPhase::ReadyToStart
            || name.is_some_and(|name| slots.running.contains(name))
    };
    let gone = |name: &&String| {
        !all.iter()
            .any(|other| other.metadata.name.as_ref() == Some(*name))
    };
    let mut running: Vec<Span> = all
        .iter()
        .filter(is_running)
        .map(|other| span(other, slots.namespaces))
        .collect();
    // Of those whose resource is gone nobody can tell.
    running.extend(slots.running.iter().filter(gone).map(|_| Span::All));
    let mut queue: Vec<&Backup> = all
        .iter()
        .filter(|other| *other.phase() == BackupPhase::Queued)
        .collect();
    queue.sort_by(|a, b| place(a).cmp(&place(b)));
    let queue = queue
        .into_iter()
        .map(|other| (place(other).1, span(other, slots.namespaces)));
    is_turn(place(backup).1, queue, &running, slots.limit)
}

/// What a queued backup waits for: those before it, which run or are queued.
pub(super) fn waits_for(backup: &Backup, all: &[Backup], slots: Slots<'_>) -> String {
    let is_before = |other: &&Backup| match other.phase() {
        BackupPhase::ReadyToStart | BackupPhase::InProgress => true,
        BackupPhase::Queued => place(other) < place(backup),
        _ => other
            .metadata
            .name
            .as_ref()
            .is_some_and(|name| slots.running.contains(name)),
    };
    let mut before: Vec<&Backup> = all.iter().filter(is_before).collect();
    before.sort_by_key(|other| (*other.phase() == BackupPhase::Queued, place(other)));
    let names = before.into_iter().map(|other| place(other).1);
    waits::turn("backups", names)
}

/// Whether it matters which namespaces there are.
pub(super) fn asks_for_namespaces(backup: &Backup, all: &[Backup], slots: Slots<'_>) -> bool {
    let others = |other: &Backup| {
        other.metadata.name != backup.metadata.name
            && matches!(
                other.phase(),
                BackupPhase::Queued | BackupPhase::ReadyToStart
            )
    };
    *backup.phase() == BackupPhase::Queued
        && slots.limit > 1
        && !slots.are_taken()
        && (!slots.running.is_empty() || all.iter().any(others))
}

/// The namespaces that a backup takes.
fn span(backup: &Backup, namespaces: Option<&[String]>) -> Span {
    let Some(live) = namespaces else {
        return Span::All;
    };
    let spec = &backup.spec;
    let filter =
        NamespaceFilter::resolve(&spec.included_namespaces, &spec.excluded_namespaces, live);
    if filter.includes_everything() && !filter.takes_nothing() {
        return Span::All;
    }
    let taken = live.iter().filter(|name| filter.should_include(name));
    Span::Names(taken.cloned().collect())
}

/// The queued backups that move up when `started` leaves the queue, with their new places.
pub(super) fn renumbered<'a>(all: &'a [Backup], started: &Backup) -> Vec<(&'a Backup, i64)> {
    let mut queued: Vec<&Backup> = all
        .iter()
        .filter(|other| {
            *other.phase() == BackupPhase::Queued && other.metadata.name != started.metadata.name
        })
        .collect();
    queued.sort_by(|a, b| place(a).cmp(&place(b)));
    queued
        .into_iter()
        .zip(1..)
        .filter(|(other, position)| other.status.queue_position != *position)
        .collect()
}

fn last_position(all: &[Backup]) -> i64 {
    let queued = all
        .iter()
        .filter(|other| *other.phase() == BackupPhase::Queued);
    queued
        .map(|other| other.status.queue_position)
        .max()
        .unwrap_or(0)
}

/// Order in the queue; the name decides where two have the same position.
fn place(backup: &Backup) -> (i64, &str) {
    (
        backup.status.queue_position,
        backup.metadata.name.as_deref().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use velero_core::api::BackupSpec;

    use super::*;

    fn backup(name: &str, phase: BackupPhase, position: i64) -> Backup {
        let mut backup = Backup::new("velero", name, BackupSpec::default());
        backup.status.phase = Some(phase);
        backup.status.queue_position = position;
        backup
    }

    fn one_at_a_time(busy: bool) -> Slots<'static> {
        static ANOTHER: std::sync::LazyLock<Vec<String>> =
            std::sync::LazyLock::new(|| vec!["another".to_owned()]);
        Slots {
            running: if busy { &ANOTHER } else { &[] },
            limit: 1,
            namespaces: None,
        }
    }

    #[test]
    fn backups_of_other_namespaces_run_side_by_side() {
        let of = |name: &str, position: i64, includes: &[&str], excludes: &[&str]| {
            let mut backup = backup(name, BackupPhase::Queued, position);
            let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
            backup.spec.included_namespaces = names(includes);
            backup.spec.excluded_namespaces = names(excludes);
            backup
        };
        let mut running = of("running", 0, &["shop"], &[]);
        running.status.phase = Some(BackupPhase::InProgress);
        let mut ready = of("ready", 0, &["bank-2"], &[]);
        ready.status.phase = Some(BackupPhase::ReadyToStart);
        let all = [
            running,
            ready,
            of("everything", 9, &["*"], &[]),
            of("same", 1, &["shop", "web"], &[]),
            of("behind", 2, &["web"], &[]),
            of("pattern", 3, &["bank-*"], &["bank-2"]),
            of("nothing", 4, &["gone-*"], &[]),
            of("but", 5, &["*"], &["shop", "web", "bank-1", "bank-2"]),
        ];
        let names = ["bank-1", "bank-2", "mail", "shop", "web"].map(str::to_owned);
        let going = |limit: usize, namespaces: Option<&[String]>| -> Vec<&str> {
            let slots = Slots {
                running: &["running".to_owned()],
                limit,
                namespaces,
            };
            let goes = |b: &&Backup| next(b, &all, false, slots) == Step::Dequeue;
            let queued = all.iter().filter(|b| *b.phase() == BackupPhase::Queued);
            queued.filter(goes).map(|b| place(b).1).collect()
        };
        assert_eq!(going(9, Some(&names)), ["pattern", "nothing", "but"]);
        assert_eq!(going(3, Some(&names)), ["pattern"]);
        assert_eq!(going(2, Some(&names)), [""; 0]);
        assert_eq!(going(9, None), [""; 0]);
    }

    #[test]
    fn turns() {
        use BackupPhase::*;
        let queue = [
            backup("done", Completed, 0),
            backup("second", Queued, 2),
            backup("first", Queued, 1),
            backup("third", Queued, 3),
        ];
        for (subject, tracked, busy, expected) in [
            (backup("x", New, 0), false, true, Step::Enqueue(4)),
            (
                Backup::new("velero", "x", BackupSpec::default()),
                false,
                false,
                Step::Enqueue(4),
            ),
            (queue[2].clone(), false, false, Step::Dequeue),
            (queue[2].clone(), false, true, Step::Wait),
            (queue[1].clone(), false, false, Step::Wait),
            (backup("r", ReadyToStart, 0), false, false, Step::Prepare),
            (backup("r", ReadyToStart, 0), false, true, Step::Wait),
            (backup("r", ReadyToStart, 0), true, true, Step::Rest),
            (backup("p", InProgress, 0), true, true, Step::Rest),
            (backup("p", InProgress, 0), false, false, Step::Recover),
            (
                backup("f", FinalizingPartiallyFailed, 0),
                false,
                true,
                Step::Follow,
            ),
            (
                backup("w", WaitingForPluginOperations, 0),
                false,
                false,
                Step::Follow,
            ),
            (
                backup("w", WaitingForPluginOperationsPartiallyFailed, 0),
                true,
                false,
                Step::Rest,
            ),
            (backup("d", Deleting, 0), false, false, Step::Rest),
            (backup("c", Completed, 0), false, false, Step::Rest),
        ] {
            assert_eq!(
                next(&subject, &queue, tracked, one_at_a_time(busy)),
                expected,
                "{:?} {tracked} {busy}",
                subject.metadata.name
            );
        }
        let ready = [queue[2].clone(), backup("r", ReadyToStart, 0)];
        assert_eq!(
            next(&queue[2], &ready, false, one_at_a_time(false)),
            Step::Wait
        );
        assert_eq!(
            next(&backup("x", New, 0), &[], false, one_at_a_time(false)),
            Step::Enqueue(1)
        );
    }

    #[test]
    fn cancelled_backups_end() {
        use BackupPhase::*;
        let anna = || "anna".to_owned();
        for (phase, tracked, expected) in [
            (New, false, Step::End(anna())),
            (Queued, false, Step::End(anna())),
            (ReadyToStart, false, Step::End(anna())),
            // Its run is about to begin, and is cancelled then.
            (ReadyToStart, true, Step::Rest),
            (InProgress, true, Step::Cancel(anna())),
            (InProgress, false, Step::Recover),
            (WaitingForPluginOperations, true, Step::Cancel(anna())),
            (FinalizingPartiallyFailed, true, Step::Cancel(anna())),
            // Who follows it sees that it is to end.
            (WaitingForPluginOperations, false, Step::Follow),
            (Completed, false, Step::Rest),
            (Deleting, false, Step::Rest),
        ] {
            let mut subject = backup("b", phase.clone(), 0);
            let said = ("x.velero.io/cancel".to_owned(), anna());
            subject.metadata.annotations = Some([said].into());
            let all = [subject.clone()];
            let found = next(&subject, &all, tracked, one_at_a_time(tracked));
            assert_eq!(found, expected, "{phase:?} {tracked}");
        }
    }

    #[test]
    fn twins_have_an_order() {
        let twins = [
            backup("b", BackupPhase::Queued, 1),
            backup("a", BackupPhase::Queued, 1),
        ];
        assert_eq!(
            next(&twins[0], &twins, false, one_at_a_time(false)),
            Step::Wait
        );
        assert_eq!(
            next(&twins[1], &twins, false, one_at_a_time(false)),
            Step::Dequeue
        );
    }

    #[test]
    fn the_rest_moves_up() {
        let all = [
            backup("c", BackupPhase::Queued, 5),
            backup("a", BackupPhase::Queued, 1),
            backup("b", BackupPhase::Queued, 2),
            backup("done", BackupPhase::Completed, 0),
        ];
        let moved: Vec<_> = renumbered(&all, &all[1])
            .into_iter()
            .map(|(b, p)| (b.metadata.name.clone().unwrap(), p))
            .collect();
        assert_eq!(moved, [("b".to_owned(), 1), ("c".to_owned(), 2)]);
    }
}
