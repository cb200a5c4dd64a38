//! Whose turn it is, without IO.

use velero_core::api::{Backup, BackupPhase};

use crate::server::cancel::cancelled_by;

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

/// Decides about one backup of `all`. `tracked` says whether this process runs it, `busy` whether it runs any.
pub(super) fn next(backup: &Backup, all: &[Backup], tracked: bool, busy: bool) -> Step {
    if backup.metadata.deletion_timestamp.is_some() {
        return Step::Rest;
    }
    let cancelled = cancelled_by(&backup.metadata);
    match (backup.phase(), cancelled) {
        (BackupPhase::InProgress, Some(who)) if tracked => return Step::Cancel(who),
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
        BackupPhase::Queued => {
            let taken = busy
                || all
                    .iter()
                    .any(|other| *other.phase() == BackupPhase::ReadyToStart);
            let first = !all
                .iter()
                .any(|other| *other.phase() == BackupPhase::Queued && place(other) < place(backup));
            if !taken && first {
                Step::Dequeue
            } else {
                Step::Wait
            }
        }
        BackupPhase::ReadyToStart if busy => Step::Wait,
        BackupPhase::ReadyToStart => Step::Prepare,
        BackupPhase::InProgress => Step::Recover,
        BackupPhase::WaitingForPluginOperations
        | BackupPhase::WaitingForPluginOperationsPartiallyFailed
        | BackupPhase::Finalizing
        | BackupPhase::FinalizingPartiallyFailed => Step::Follow,
        _ => Step::Rest,
    }
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
                next(&subject, &queue, tracked, busy),
                expected,
                "{:?} {tracked} {busy}",
                subject.metadata.name
            );
        }
        let ready = [queue[2].clone(), backup("r", ReadyToStart, 0)];
        assert_eq!(next(&queue[2], &ready, false, false), Step::Wait);
        assert_eq!(
            next(&backup("x", New, 0), &[], false, false),
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
            (Completed, false, Step::Rest),
            (Deleting, false, Step::Rest),
        ] {
            let mut subject = backup("b", phase.clone(), 0);
            let said = ("x.velero.io/cancel".to_owned(), anna());
            subject.metadata.annotations = Some([said].into());
            let all = [subject.clone()];
            let found = next(&subject, &all, tracked, tracked);
            assert_eq!(found, expected, "{phase:?} {tracked}");
        }
    }

    #[test]
    fn twins_have_an_order() {
        let twins = [
            backup("b", BackupPhase::Queued, 1),
            backup("a", BackupPhase::Queued, 1),
        ];
        assert_eq!(next(&twins[0], &twins, false, false), Step::Wait);
        assert_eq!(next(&twins[1], &twins, false, false), Step::Dequeue);
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
