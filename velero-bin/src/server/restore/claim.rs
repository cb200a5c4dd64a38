//! The claim of a server on a restore that it works on, with signs of life, so that another one leaves it alone.
//!
//! Backups are claimed in their store. A restore may come from a store that nothing can be written to, so its claim is an
//! annotation of the Restore itself, in the same form: whoever it is that works on it can be seen there.

use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use velero_core::CancellationToken;
use velero_core::api::Restore;
use velero_persistence::ProcessId;

use crate::runs::{Mark, TakenOver};
use crate::server::attempts::forgive_attempt;
use crate::server::context::{Context, RETRY_PAUSES, whole_seconds};
use crate::server::objects::{ApiError, Lock};
use crate::server::waits;

/// Who works on a Restore.
const CLAIM: &str = "x.velero.io/claim";
/// Signs of life in each lease.
const BEATS: u32 = 4;
/// Least time between two of them.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);
/// Tries at once of a write that others come before.
const TRIES: u32 = 20;

/// Whether a server other than `writer` works on a restore, as far as the restore tells. A mark that cannot be understood
/// is none.
pub(super) fn is_held_by_another(restore: &Restore, writer: &str, now: Timestamp) -> bool {
    mark(restore).is_some_and(|mark| mark.holder != writer && mark.may_live(now))
}

/// Whether a restore has the mark of a server other than `writer`, whether that lives or not.
fn is_taken(restore: &Restore, writer: &str) -> bool {
    mark(restore).is_some_and(|mark| mark.holder != writer)
}

fn mark(restore: &Restore) -> Option<Mark> {
    let mark = restore.metadata.annotations.as_ref()?.get(CLAIM)?;
    serde_json::from_str(mark).ok()
}

/// Puts this server's mark on a restore that is about to be written.
pub(super) fn put(context: &Context, restore: &mut Restore) {
    waits::clear(&mut restore.metadata);
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
    waits::clear(&mut restore.metadata);
    // An empty map stays: without it, what others have annotated since would be taken away as well.
    if let Some(annotations) = &mut restore.metadata.annotations {
        annotations.remove(CLAIM);
    }
}

/// Whether somebody has left its mark on a restore, whether that lives or not.
pub(super) fn is_marked(restore: &Restore) -> bool {
    let annotations = restore.metadata.annotations.as_ref();
    annotations.is_some_and(|all| all.contains_key(CLAIM))
}

/// Takes the mark off a restore that has ended, whoever's it is.
pub(super) async fn unmark(context: &Context, restore: &Restore) -> Result<(), ApiError> {
    let live = read(context, restore).await?;
    let mut free = live.clone();
    take_off(&mut free);
    context.objects.patch(&live, &free, Lock::Unchanged).await?;
    Ok(())
}

/// Claims a restore that nobody works on; a conflict when somebody else has been faster.
pub(super) async fn claim(context: &Context, restore: &Restore) -> Result<Restore, ApiError> {
    let mut claimed = restore.clone();
    put(context, &mut claimed);
    let objects = &context.objects;
    objects.patch(restore, &claimed, Lock::Unchanged).await
}

/// Writes a state of a restore that this server works on, its end again and again until the resource timeout has passed.
/// `None` when another server works on it by now, or has ended it: nothing is written then.
pub(super) async fn write_ours(
    context: &Context,
    old: &Restore,
    new: &Restore,
) -> Result<Option<Restore>, ApiError> {
    let limit = match new.phase().is_terminal() {
        true => context.settings.resource_timeout,
        false => Duration::ZERO,
    };
    let deadline = Instant::now() + limit;
    let (mut pause, mut conflicts) = (RETRY_PAUSES.0, 0);
    loop {
        let error = match write_once(context, old, new).await {
            Ok(written) => return Ok(written),
            Err(error) => error,
        };
        if error.is_conflict() && conflicts < TRIES {
            conflicts += 1;
            continue;
        }
        let passes = error.is_retryable() || error.is_conflict();
        if !passes || Instant::now() + pause > deadline {
            return Err(error);
        }
        tracing::warn!(%error, "will try again in {} ms", pause.as_millis());
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSES.1);
    }
}

async fn write_once(
    context: &Context,
    old: &Restore,
    new: &Restore,
) -> Result<Option<Restore>, ApiError> {
    let live = read(context, old).await?;
    if is_taken(&live, &context.writer) {
        return Ok(None);
    }
    if live.phase().is_terminal() {
        // This server's own write, whose answer was lost, or another's.
        return Ok((live.status == new.status).then_some(live));
    }
    let at = |state: &Restore| {
        let mut state = state.clone();
        state.metadata.resource_version = live.metadata.resource_version.clone();
        state
    };
    let objects = &context.objects;
    let written = objects.patch(&at(old), &at(new), Lock::Unchanged).await?;
    Ok(Some(written))
}

/// The restore as it is now; an error when it is gone.
async fn read(context: &Context, restore: &Restore) -> Result<Restore, ApiError> {
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    let live = context.objects.get::<Restore>(name).await?;
    let is_same = |live: &Restore| live.metadata.uid == restore.metadata.uid;
    live.filter(is_same)
        .ok_or_else(|| ApiError::gone::<Restore>(name))
}

/// Gives signs of life until it is ended.
pub(super) struct SignsOfLife {
    context: Context,
    restore: Restore,
    stop: CancellationToken,
    taken: TakenOver,
    task: JoinHandle<()>,
}

impl SignsOfLife {
    /// Begins for a restore with this server's mark. `taken` is fired when another server has put its own there: this
    /// one was taken for dead.
    pub(super) fn start(context: &Context, restore: &Restore, taken: TakenOver) -> Self {
        let stop = CancellationToken::new();
        let ends = (stop.clone(), taken.clone());
        let beating = beat(context.clone(), restore.clone(), ends);
        Self {
            context: context.clone(),
            restore: restore.clone(),
            stop,
            taken,
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
        self.leave(take_off).await;
    }

    /// As [`SignsOfLife::give_back`], for work that another server is to go on with: that is no attempt more.
    pub(super) async fn hand_over(self) {
        self.leave(|restore| {
            take_off(restore);
            forgive_attempt(&mut restore.metadata);
        })
        .await;
    }

    async fn leave(self, with: impl Fn(&mut Restore)) {
        let (context, restore) = (self.context.clone(), self.restore.clone());
        let taken = self.taken.clone();
        self.stop().await;
        if taken.is_fired() {
            return;
        }
        match change(&context, &restore, with).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => tracing::warn!(
                restore = restore.metadata.name.as_deref().unwrap_or_default(),
                %error,
                "the claim on the restore stays until its lease is over"
            ),
        }
    }
}

async fn beat(context: Context, restore: Restore, (stop, taken): (CancellationToken, TakenOver)) {
    let period = (context.settings.restore_lease / BEATS).max(SHORTEST_PERIOD);
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
        match change(&context, &restore, |marked| put(&context, marked)).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::error!(
                    restore = name,
                    "another server has taken the restore over; this one stops"
                );
                taken.fire();
                return;
            }
            // It is gone; whoever works on it finds out.
            Err(error) if error.is_not_found() => return,
            Err(error) => {
                tracing::warn!(restore = name, %error, "no sign of life could be given for the restore");
            }
        }
    }
}

/// Changes the mark of this server; `false` when there is another's.
async fn change(
    context: &Context,
    restore: &Restore,
    change: impl Fn(&mut Restore),
) -> Result<bool, ApiError> {
    let mut tries = 0;
    loop {
        let live = read(context, restore).await?;
        if is_taken(&live, &context.writer) {
            return Ok(false);
        }
        let mut changed = live.clone();
        change(&mut changed);
        let patched = context.objects.patch(&live, &changed, Lock::Unchanged);
        match patched.await {
            Ok(_) => return Ok(true),
            // Its progress is written all the time.
            Err(error) if error.is_conflict() && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
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
