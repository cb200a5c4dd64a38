//! `velero backup cancel` and `velero restore cancel`: commands of ours alone.

use std::marker::PhantomData;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};
use velero_core::GoDuration;
use velero_core::api::{Backup, BackupPhase, Restore, VeleroKind};
use velero_core::names::annotations;

use super::exit::Exit;
use super::objects::Objects;
use super::{Environment, console};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Where a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// It can be cancelled.
    Open(String),
    /// It has ended.
    Ended(String),
    /// It was cancelled.
    Cancelled,
}

/// What can be cancelled.
pub(super) trait Cancel: VeleroKind {
    /// The word for it.
    const NOUN: &str;

    /// Where it is.
    fn state(&self) -> State;
}

/// What tells where a run is.
#[derive(Debug)]
pub(super) struct State {
    phase: String,
    is_terminal: bool,
    reason: String,
}

impl State {
    fn stage(self) -> Stage {
        match self {
            Self {
                is_terminal: true,
                reason,
                ..
            } if reason.starts_with("cancelled by ") => Stage::Cancelled,
            Self {
                is_terminal: true,
                phase,
                ..
            } => Stage::Ended(phase),
            Self { phase, .. } => Stage::Open(phase),
        }
    }
}

impl Cancel for Backup {
    const NOUN: &str = "backup";

    fn state(&self) -> State {
        let phase = self.phase();
        State {
            phase: phase.to_string(),
            is_terminal: phase.is_terminal() || *phase == BackupPhase::Deleting,
            reason: self.status.failure_reason.clone(),
        }
    }
}

impl Cancel for Restore {
    const NOUN: &str = "restore";

    fn state(&self) -> State {
        let phase = self.phase();
        State {
            phase: phase.to_string(),
            is_terminal: phase.is_terminal(),
            reason: self.status.failure_reason.clone(),
        }
    }
}

/// Flags of `backup cancel` and `restore cancel`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct CancelRun<K: Send + Sync + 'static> {
    /// What to cancel
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Longest time to wait for the end; 0 asks for it and does not wait
    #[arg(long, default_value = "30s")]
    timeout: GoDuration,
    #[arg(skip)]
    kind: PhantomData<K>,
}

impl<K: Cancel> CancelRun<K> {
    /// Asks the operator to end runs, and waits for that. A run that has ended already makes the command fail after the others were handled.
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        let objects: Objects<K> =
            Objects::new(environment.client().await?, &environment.namespace());
        let mut faults = Vec::new();
        let mut asked = Vec::new();
        for name in &self.names {
            match ask(&objects, name).await {
                Ok(()) => asked.push(name.as_str()),
                Err(error) => faults.push(format!("{error:#}")),
            }
        }
        let timeout = Duration::try_from(self.timeout).unwrap_or_default();
        if timeout.is_zero() {
            for name in asked.drain(..) {
                console::line(format_args!("{} {name:?} is asked to end.", K::NOUN));
            }
        }
        let deadline = Instant::now() + timeout;
        for name in asked {
            match ended(&objects, name, deadline).await {
                Ok(line) => console::line(line),
                Err(error) => faults.push(format!("{error:#}")),
            }
        }
        for fault in &faults {
            console::note(format_args!("An error occurred: {fault}"));
        }
        Ok(match faults.is_empty() {
            true => Exit::Success,
            false => Exit::Failure,
        })
    }
}

/// Asks the operator to end a run.
async fn ask<K: Cancel>(objects: &Objects<K>, name: &str) -> Result<()> {
    let noun = K::NOUN;
    match objects.get(name).await?.state().stage() {
        Stage::Open(_) => {}
        Stage::Cancelled => anyhow::bail!("{noun} {name:?} was cancelled already"),
        Stage::Ended(phase) => anyhow::bail!("{noun} {name:?} has ended already, as {phase}"),
    }
    let by = format!("velero {noun} cancel");
    objects.annotate(name, annotations::CANCEL, &by).await
}

/// Waits for the end of a run; gives a line that says how it has ended.
async fn ended<K: Cancel>(objects: &Objects<K>, name: &str, deadline: Instant) -> Result<String> {
    let noun = K::NOUN;
    loop {
        let phase = match objects.get(name).await?.state().stage() {
            Stage::Cancelled => return Ok(format!("{noun} {name:?} is cancelled.")),
            Stage::Ended(phase) => {
                anyhow::bail!("{noun} {name:?} has ended as {phase} before it could be cancelled")
            }
            Stage::Open(phase) => phase,
        };
        if Instant::now() >= deadline {
            anyhow::bail!(
                "{noun} {name:?} is still {phase}: is `velero server` running in this namespace?"
            );
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_from_phase_and_reason() {
        let of = |phase: BackupPhase, reason: &str| {
            let mut backup = Backup::default();
            backup.status.phase = Some(phase);
            backup.status.failure_reason = reason.to_owned();
            backup.state().stage()
        };
        use BackupPhase::*;
        for (phase, reason, expected) in [
            (New, "", Stage::Open("New".to_owned())),
            (Queued, "", Stage::Open("Queued".to_owned())),
            (InProgress, "", Stage::Open("InProgress".to_owned())),
            (Finalizing, "", Stage::Open("Finalizing".to_owned())),
            (Completed, "", Stage::Ended("Completed".to_owned())),
            (Deleting, "", Stage::Ended("Deleting".to_owned())),
            (Failed, "no store", Stage::Ended("Failed".to_owned())),
            (Failed, "cancelled by anna", Stage::Cancelled),
        ] {
            assert_eq!(of(phase.clone(), reason), expected, "{phase:?} {reason}");
        }
    }
}
