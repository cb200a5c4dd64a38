//! How operations stand that actions have started and left running: pure steps from what their action says.

use jiff::Timestamp;

use crate::GoDuration;
use crate::action::OperationProgress;
use crate::api::Time;
use crate::artifact::{OperationPhase, OperationStatus};

/// How long an operation may take when neither backup nor restore says: the peer's default.
pub const DEFAULT_OPERATION_TIMEOUT: GoDuration = GoDuration::from_hours(4);

/// How many operations there are, by how they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OperationCounts {
    /// All.
    pub attempted: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended badly, or given up.
    pub failed: u64,
}

impl OperationCounts {
    /// Counts operations of a backup or of a restore.
    pub fn of<'a, T: AsRef<OperationStatus> + 'a>(
        operations: impl IntoIterator<Item = &'a T>,
    ) -> Self {
        let mut counts = Self::default();
        for operation in operations {
            counts.attempted += 1;
            match operation.as_ref().phase {
                OperationPhase::Completed => counts.completed += 1,
                OperationPhase::Failed => counts.failed += 1,
                _ => {}
            }
        }
        counts
    }

    /// How many are under way.
    pub fn left(&self) -> u64 {
        self.attempted - self.completed - self.failed
    }

    /// Whether none is under way.
    pub fn all_ended(&self) -> bool {
        self.left() == 0
    }
}

/// An action's answer to a question about its operation; `None` when none came in time.
pub type Answer<T> = Option<Result<T, String>>;

impl OperationStatus {
    /// An operation that an action has just started.
    pub fn begun(now: Timestamp) -> Self {
        Self {
            phase: OperationPhase::New,
            created: Some(whole_seconds(now)),
            ..Self::default()
        }
    }

    /// Takes in how far its action says that the operation is; an action's error fails the operation.
    pub fn hear(&mut self, answer: Answer<OperationProgress>, now: Timestamp) {
        match answer {
            Some(Ok(progress)) => self.note(progress, now),
            Some(Err(reason)) => self.fail(reason, now),
            None => {}
        }
    }

    /// Takes in what an action says.
    fn note(&mut self, progress: OperationProgress, now: Timestamp) {
        let moved = (self.n_completed, self.n_total) != (progress.done, progress.total);
        self.n_completed = progress.done;
        self.n_total = progress.total;
        self.operation_units = progress.units;
        self.description = progress.description;
        let whole = |time: Option<Timestamp>| time.map(whole_seconds);
        self.started = whole(progress.started).or(self.started.take());
        let touched = (moved || progress.completed).then_some(now);
        self.updated = whole(progress.updated.or(touched)).or(self.updated.take());
        if progress.completed && progress.error.is_empty() {
            self.phase = OperationPhase::Completed;
        } else if progress.completed {
            self.phase = OperationPhase::Failed;
            self.error = progress.error;
        } else if self.started.is_some() || moved {
            self.phase = OperationPhase::InProgress;
        }
    }

    /// Ends the operation badly.
    pub fn fail(&mut self, reason: impl Into<String>, now: Timestamp) {
        self.phase = OperationPhase::Failed;
        self.error = reason.into();
        self.updated = Some(whole_seconds(now));
    }

    /// Whether the operation goes on although its time is up. One that does not say when it began begins now.
    pub fn is_late(&mut self, timeout: GoDuration, now: Timestamp) -> bool {
        let created = self.created.get_or_insert_with(|| whole_seconds(now)).0;
        let is_over = created
            .checked_add(timeout.to_std())
            .is_ok_and(|due| due < now);
        is_over && !self.phase.is_terminal()
    }

    /// Fails an operation whose time is up; `cancelled` is its action's answer when it was told to cancel it.
    pub fn give_up(&mut self, timeout: GoDuration, cancelled: Answer<()>, now: Timestamp) {
        let reason = format!("it has not ended within {timeout} and is given up");
        self.cancel(reason, cancelled, now);
    }

    /// Fails an operation that is not waited for any more; `cancelled` is its action's answer when it was told to cancel it.
    pub fn cancel(&mut self, mut reason: String, cancelled: Answer<()>, now: Timestamp) {
        match cancelled {
            Some(Ok(())) => {}
            Some(Err(error)) => reason.push_str(&format!("; it could not be cancelled: {error}")),
            None => reason.push_str("; the action does not answer when told to cancel it"),
        }
        self.fail(reason, now);
    }
}

/// A time as documents hold it.
fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_actions_say_becomes_a_status() {
        let now = at("2026-01-01T00:00:09.5Z");
        for (progress, phase, error) in [
            (OperationProgress::default(), OperationPhase::New, ""),
            (
                OperationProgress::running(1, 9, "Bytes"),
                OperationPhase::InProgress,
                "",
            ),
            (
                OperationProgress {
                    started: Some(now),
                    ..OperationProgress::default()
                },
                OperationPhase::InProgress,
                "",
            ),
            // An error of an operation that goes on is no failure yet.
            (
                OperationProgress {
                    error: "hiccup".into(),
                    ..OperationProgress::default()
                },
                OperationPhase::New,
                "",
            ),
            (
                OperationProgress::succeeded(),
                OperationPhase::Completed,
                "",
            ),
            (
                OperationProgress::failed("no space"),
                OperationPhase::Failed,
                "no space",
            ),
        ] {
            let mut status = OperationStatus::begun(now);
            status.hear(Some(Ok(progress.clone())), now);
            assert_eq!(
                (&status.phase, status.error.as_str()),
                (&phase, error),
                "{progress:?}"
            );
            assert_eq!(status.n_completed, progress.done);
            let touched = phase.is_terminal() || progress.done > 0;
            assert_eq!(
                status.updated,
                touched.then(|| whole_seconds(now)),
                "{progress:?}"
            );
        }
        let mut status = OperationStatus::begun(now);
        status.hear(None, now);
        assert_eq!(status.phase, OperationPhase::New);
        status.hear(Some(Err("gone".into())), now);
        assert_eq!(
            (status.phase, status.error.as_str()),
            (OperationPhase::Failed, "gone")
        );
    }

    #[test]
    fn times_of_the_action_win() {
        let mut status = OperationStatus::default();
        let (started, updated) = (at("2026-01-01T00:00:01Z"), at("2026-01-01T00:00:05Z"));
        let progress = OperationProgress {
            started: Some(started),
            updated: Some(updated),
            ..OperationProgress::succeeded()
        };
        status.hear(Some(Ok(progress)), at("2026-01-01T00:00:09Z"));
        assert_eq!(status.started, Some(Time(started)));
        assert_eq!(status.updated, Some(Time(updated)));
    }

    #[test]
    fn time_is_up_for_what_goes_on() {
        let (begun, hour) = (at("2026-01-01T00:00:00Z"), GoDuration::from_hours(1));
        let (early, late) = (at("2026-01-01T01:00:00Z"), at("2026-01-01T01:00:01Z"));
        for (phase, now, expected) in [
            (OperationPhase::New, early, false),
            (OperationPhase::New, late, true),
            (OperationPhase::InProgress, late, true),
            (OperationPhase::Completed, late, false),
            (OperationPhase::Failed, late, false),
        ] {
            let mut status = OperationStatus::begun(begun);
            status.phase = phase.clone();
            assert_eq!(status.is_late(hour, now), expected, "{phase:?} {now}");
        }
        let mut status = OperationStatus::default();
        assert!(!status.is_late(hour, late) && status.created.is_some());
        for (answer, text) in [
            (
                Some(Ok(())),
                "it has not ended within 1h0m0s and is given up",
            ),
            (
                Some(Err("no".to_owned())),
                "; it could not be cancelled: no",
            ),
            (None, "; the action does not answer when told to cancel it"),
        ] {
            status.give_up(hour, answer, late);
            assert!(status.error.ends_with(text), "{}", status.error);
        }
    }
}
