//! Which of several servers acts.
//!
//! A Lease names the leader. Others take it over when it has not been renewed for its whole duration, as they see it by
//! their own clocks, or when it is given back. The leader acts for a shorter time after each renewal ([`Fence`]), and never
//! again once that has passed: its process ends, and may compete anew. A renewal names the version of the Lease that it
//! changes, and the Lease names the process: a later one of the same pod takes it over at once.

mod decide;
mod fence;
mod guard;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use velero_core::CancellationToken;

use decide::{Bid, bid, given_back, holder, is_of_process, taken};
pub(super) use fence::Fence;
use fence::{NotLeading, now};

use super::objects::{ApiError, FIELD_MANAGER, Objects};
use super::pod;

/// Longest wait for one answer about the Lease.
const CALL: Duration = Duration::from_secs(5);

/// How servers of one namespace agree on the one that acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderElection {
    /// Name of the Lease. Default `velero-server`.
    pub lease: String,
    /// What the Lease calls this server. A later process of the same name takes the Lease over at once.
    pub identity: String,
    /// How long a Lease that is not renewed is left to its holder. Default 15 seconds.
    pub duration: Duration,
    /// How long the leader acts after it has begun to renew the Lease; less than `duration`. Default 10 seconds.
    pub acts_for: Duration,
    /// Time between two renewals, and between two looks at another's Lease. Default 2 seconds.
    pub retry: Duration,
}

impl LeaderElection {
    /// The usual times, for a server of this name.
    pub fn new(identity: impl Into<String>) -> Self {
        Self {
            lease: "velero-server".to_owned(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            acts_for: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }

    /// The usual times, for this process: named by the variable `POD_NAME`, or as no other process is.
    pub fn of_process() -> Self {
        Self::new(pod::told_name().unwrap_or_else(|| {
            let host = velero_persistence::ProcessId::current().host;
            format!("{host}_{}", uuid::Uuid::new_v4())
        }))
    }
}

/// A server that competes for the Lease, and holds it.
#[derive(Debug)]
pub(super) struct Election {
    rules: LeaderElection,
    objects: Objects,
    /// Tells this process from an earlier one of the same name.
    process: String,
    fence: Fence,
    /// The Lease as this process has last written it.
    held: Mutex<Option<Lease>>,
    given_back: CancellationToken,
    idle: CancellationToken,
}

impl Election {
    /// `objects` asks the API server without a fence.
    pub(super) fn new(rules: LeaderElection, objects: Objects) -> Self {
        Self {
            rules,
            objects,
            process: uuid::Uuid::new_v4().to_string(),
            fence: Fence::closed(),
            held: Mutex::default(),
            given_back: CancellationToken::new(),
            idle: CancellationToken::new(),
        }
    }

    /// What everything of the leader has to pass.
    pub(super) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Fired when this server has ended to act, or does not begin to.
    pub(super) fn idle(&self) -> &CancellationToken {
        &self.idle
    }

    /// Waits until this server is the leader.
    ///
    /// # Errors
    /// When the API server refuses to say.
    pub(super) async fn win(&self) -> Result<()> {
        let mut seen: Option<(String, Duration)> = None;
        let mut told = String::new();
        loop {
            let found = match self.read().await {
                Ok(found) => found,
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "the leader is not known");
                    tokio::time::sleep(self.rules.retry).await;
                    continue;
                }
                Err(error) => return Err(self.refused(&error)),
            };
            let version = found
                .as_ref()
                .and_then(|l| l.metadata.resource_version.clone());
            let version = version.unwrap_or_default();
            let since = match &seen {
                Some((last, since)) if *last == version => *since,
                _ => now(),
            };
            seen = Some((version, since));
            let unchanged = now().saturating_sub(since);
            match bid(found.as_ref(), &self.rules, unchanged) {
                Bid::Take => match self.take(found).await {
                    Ok(()) => return Ok(()),
                    // Another one was faster.
                    Err(error) if error.is_conflict() => {}
                    Err(error) if error.is_retryable() => {
                        tracing::warn!(%error, "the Lease could not be taken");
                        tokio::time::sleep(self.rules.retry).await;
                    }
                    Err(error) => return Err(self.refused(&error)),
                },
                Bid::Wait(pause) => {
                    let leader = found.as_ref().map(holder).unwrap_or_default();
                    if leader != told {
                        tracing::info!(leader, "another server leads; this one waits");
                        leader.clone_into(&mut told);
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    fn refused(&self, error: &ApiError) -> anyhow::Error {
        anyhow!(
            "{error}; the server's account needs get, create and update of leases, or the flag --leader-elect=false where it is the only one"
        )
    }

    /// Renews the Lease until it is given back, or lost; says how it was lost.
    pub(super) async fn keep(&self) -> anyhow::Error {
        loop {
            tokio::select! {
                () = self.given_back.cancelled() => return anyhow!("the Lease is given back"),
                () = self.fence.shut() => return NotLeading.into(),
                () = tokio::time::sleep(self.rules.retry) => {}
            }
            if let Err(error) = self.renew().await {
                self.fence.close();
                return error;
            }
        }
    }

    /// Renews the Lease once; a failure that may pass is none while the fence is open.
    async fn renew(&self) -> Result<()> {
        let lease = self.held().clone();
        let began = now();
        let renewed = taken(lease, &self.rules, &self.process);
        let error = match self.write(renewed, began).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.is_conflict() || error.is_not_found() {
            match self.read().await {
                Ok(Some(found)) if is_of_process(&found, &self.process) => {
                    self.keep_in_mind(found);
                    return Ok(());
                }
                Ok(found) => {
                    let leader = found.as_ref().map(holder).unwrap_or_default();
                    return Err(anyhow!(
                        "the Lease {:?} is held by {leader:?} now: another server leads",
                        self.rules.lease
                    ));
                }
                Err(_) => {}
            }
        }
        tracing::warn!(%error, "the Lease could not be renewed");
        match self.fence.check() {
            Ok(()) => Ok(()),
            Err(lost) => Err(lost.into()),
        }
    }

    /// Gives the Lease back, so that another server takes it over at once. Nothing of this one passes the fence any more.
    pub(super) async fn give_back(&self) {
        self.given_back.cancel();
        let was_open = self.fence.check().is_ok();
        self.fence.close();
        let held = self.held().take();
        let (true, Some(lease)) = (was_open, held) else {
            return;
        };
        if let Err(error) = self.put(given_back(lease)).await {
            tracing::warn!(%error, "the Lease could not be given back: others wait until it is over");
        }
    }

    async fn take(&self, found: Option<Lease>) -> Result<(), ApiError> {
        let began = now();
        let lease = taken(found, &self.rules, &self.process);
        self.write(lease, began).await?;
        tracing::info!(identity = self.rules.identity, "this server leads");
        Ok(())
    }

    /// Writes the Lease, and opens the fence for as long as that is worth from `began` on.
    async fn write(&self, lease: Lease, began: Duration) -> Result<(), ApiError> {
        let written = self.put(lease).await?;
        self.keep_in_mind(written);
        self.fence.open_until(began + self.rules.acts_for);
        Ok(())
    }

    fn keep_in_mind(&self, lease: Lease) {
        *self.held() = Some(lease);
    }

    fn held(&self) -> MutexGuard<'_, Option<Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.objects.client().clone(), self.objects.namespace())
    }

    async fn read(&self) -> Result<Option<Lease>, ApiError> {
        let api = self.api();
        let call = api.get_opt(&self.rules.lease);
        self.objects.call_for(CALL, "get", self.what(), call).await
    }

    /// Creates the Lease, or replaces the version that it was made of.
    async fn put(&self, lease: Lease) -> Result<Lease, ApiError> {
        let api = self.api();
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        if lease.metadata.resource_version.is_none() {
            let call = api.create(&params, &lease);
            return self
                .objects
                .call_for(CALL, "create", self.what(), call)
                .await;
        }
        let call = api.replace(&self.rules.lease, &params, &lease);
        self.objects
            .call_for(CALL, "update", self.what(), call)
            .await
    }

    fn what(&self) -> String {
        format!("Lease {:?}", self.rules.lease)
    }
}
