//! The claim of a server on a restore that it works on, with signs of life, so that another one leaves it alone.
//!
//! Backups are claimed in their store. A restore may come from a store that nothing can be written to, so its claim is an
//! annotation of the Restore itself, in the same form: whoever it is that works on it can be seen there.

use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use velero_core::CancellationToken;
use velero_core::api::Restore;
use velero_persistence::ProcessId;

use crate::runs::Mark;
use crate::server::context::{Context, whole_seconds};
use crate::server::objects::{ApiError, Lock};

/// Who works on a Restore.
const CLAIM: &str = "x.velero.io/claim";
/// How many times the work on a Restore has begun; absent for once.
const ATTEMPT: &str = "x.velero.io/attempt";
/// Most times that it begins.
pub(super) const ATTEMPTS: u32 = 3;
/// Signs of life in each lease.
const BEATS: u32 = 4;
/// Least time between two of them.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// Whether a server other than `writer` works on a restore, as far as the restore tells. A mark that cannot be understood
/// is none.
pub(super) fn is_held_by_another(restore: &Restore, writer: &str, now: Timestamp) -> bool {
    let annotations = restore.metadata.annotations.as_ref();
    let mark = annotations.and_then(|annotations| annotations.get(CLAIM));
    mark.and_then(|mark| serde_json::from_str::<Mark>(mark).ok())
        .is_some_and(|mark| mark.holder != writer && mark.may_live(now))
}

/// How many times the work on a restore has begun.
pub(super) fn attempt(restore: &Restore) -> u32 {
    let annotations = restore.metadata.annotations.as_ref();
    let said = annotations.and_then(|annotations| annotations.get(ATTEMPT));
    said.and_then(|said| said.parse().ok()).unwrap_or(1)
}

/// Notes that the work on a restore begins once more.
pub(super) fn count_attempt(restore: &mut Restore) {
    let next = attempt(restore).saturating_add(1);
    let annotations = restore.metadata.annotations.get_or_insert_default();
    annotations.insert(ATTEMPT.to_owned(), next.to_string());
}

/// Puts this server's mark on a restore that is about to be written.
pub(super) fn put(context: &Context, restore: &mut Restore) {
    let mark = Mark {
        holder: context.writer.to_string(),
        renewed: Some(whole_seconds(context.now())),
        lease_seconds: context.settings.restore_lease.as_secs(),
        process: Some(ProcessId::current()),
    };
    match serde_json::to_string(&mark) {
        Ok(mark) => {
            let annotations = restore.metadata.annotations.get_or_insert_default();
            annotations.insert(CLAIM.to_owned(), mark);
        }
        Err(error) => tracing::error!(%error, "the claim on the restore cannot be written"),
    }
}

/// Takes the mark off a restore that is about to be written.
pub(super) fn take_off(restore: &mut Restore) {
    // An empty map stays: without it, what others have annotated since would be taken away as well.
    if let Some(annotations) = &mut restore.metadata.annotations {
        annotations.remove(CLAIM);
    }
}

/// Claims a restore that nobody works on; a conflict when somebody else has been faster.
pub(super) async fn claim(context: &Context, restore: &Restore) -> Result<Restore, ApiError> {
    let mut claimed = restore.clone();
    put(context, &mut claimed);
    let objects = &context.objects;
    objects.patch(restore, &claimed, Lock::Unchanged).await
}

/// Gives signs of life until it is ended.
pub(super) struct SignsOfLife {
    context: Context,
    restore: Restore,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl SignsOfLife {
    /// Begins for a restore with this server's mark.
    pub(super) fn start(context: &Context, restore: &Restore) -> Self {
        let stop = CancellationToken::new();
        let beating = beat(context.clone(), restore.clone(), stop.clone());
        Self {
            context: context.clone(),
            restore: restore.clone(),
            stop,
            task: tokio::spawn(beating),
        }
    }

    /// Ends them, and waits for one under way, so that it cannot come after the mark is taken off.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "signs of life were not given to the end");
        }
    }

    /// Ends them and takes the mark off: another server may go on at once.
    pub(super) async fn give_back(self) {
        let (context, restore) = (self.context.clone(), self.restore.clone());
        self.stop().await;
        let mut marked = restore.clone();
        put(&context, &mut marked);
        let mut free = restore.clone();
        take_off(&mut free);
        if let Err(error) = context
            .objects
            .patch(&marked, &free, Lock::SameObject)
            .await
            && !error.is_not_found()
        {
            tracing::warn!(
                restore = restore.metadata.name.as_deref().unwrap_or_default(),
                %error,
                "the claim on the restore stays until its lease is over"
            );
        }
    }
}

async fn beat(context: Context, restore: Restore, stop: CancellationToken) {
    let period = (context.settings.restore_lease / BEATS).max(SHORTEST_PERIOD);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
        let mut without = restore.clone();
        take_off(&mut without);
        let mut marked = without.clone();
        put(&context, &mut marked);
        let name = restore.metadata.name.as_deref().unwrap_or_default();
        let patch = context.objects.patch(&without, &marked, Lock::SameObject);
        match patch.await {
            Ok(_) => {}
            // It is gone; whoever works on it finds out.
            Err(error) if error.is_not_found() || error.is_conflict() => return,
            Err(error) => {
                tracing::warn!(restore = name, %error, "no sign of life could be given for the restore");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use velero_core::api::RestoreSpec;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_claim_holds_while_there_are_signs_of_life() {
        let own = ProcessId::current();
        for (mark, now, expected) in [
            (None, 0, false),
            (Some("what?".to_owned()), 0, false),
            (Some(of("other", Some(0), None)), 120, true),
            (Some(of("other", Some(0), None)), 121, false),
            (Some(of("other", None, None)), 0, false),
            (Some(of("own", Some(0), None)), 0, false),
            (Some(of("other", Some(0), Some(own))), 0, true),
        ] {
            let mut restore = Restore::new("velero", "r", RestoreSpec::default());
            if let Some(mark) = &mark {
                let annotations = restore.metadata.annotations.get_or_insert_default();
                annotations.insert(CLAIM.to_owned(), mark.clone());
            }
            assert_eq!(
                is_held_by_another(&restore, "own", at(now)),
                expected,
                "{mark:?} {now}"
            );
            take_off(&mut restore);
            assert_eq!(restore.metadata.annotations.unwrap_or_default().len(), 0);
        }
    }

    fn of(holder: &str, renewed: Option<i64>, process: Option<ProcessId>) -> String {
        let mark = Mark {
            holder: holder.to_owned(),
            renewed: renewed.map(at),
            lease_seconds: 120,
            process,
        };
        serde_json::to_string(&mark).unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_has_ended_holds_nothing() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let mut process = serde_json::to_value(ProcessId::current()).unwrap();
        process["pid"] = child.id().into();
        child.wait().unwrap();
        let process = serde_json::from_value(process).unwrap();
        let mark: Mark = serde_json::from_str(&of("other", Some(0), Some(process))).unwrap();
        assert!(!mark.may_live(at(0)));
    }
}
