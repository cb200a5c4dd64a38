//! A real Kubernetes control plane for tests, and the scenarios that run on it.
//!
//! [`ControlPlane::start`] brings up etcd, kube-apiserver, kube-controller-manager,
//! kube-scheduler and kwok as local processes in a few seconds. [`AuditLog`] tells
//! which calls a client made. [`S3Server`] is an object store in this process.
//!
//! ```no_run
//! # async fn demo() -> anyhow::Result<()> {
//! use velero_e2e::{ControlPlane, Options};
//! let plane = ControlPlane::start(Options::default()).await?;
//! let client = plane.client().await?;
//! println!("{}", client.apiserver_version().await?.git_version);
//! plane.stop().await;
//! # Ok(())
//! # }
//! ```

mod archive;
mod audit;
mod controlplane;
mod gate;
mod go;
mod kubectl;
mod kubelet;
mod narrow;
mod peer;
mod plugged;
mod random;
mod s3server;
mod scenario;
mod scenarios;
mod scope;
mod site;
mod state;
mod velero;
mod wait;
mod workspace;
mod world;

pub use audit::{
    AuditCounts, AuditEvent, AuditFilter, AuditLog, AuditObject, AuditStatus, AuditUser,
};
pub use controlplane::{Assets, Component, ControlPlane, Options};
pub use k8s_openapi;
pub use kube;
pub use kubectl::Kubectl;
pub use narrow::{NARROW, administrator, narrow};
pub use s3server::S3Server;
pub use scenario::{Context, RunOptions, Running, Scenario, Summary, run_scenarios};
pub use scenarios::all as all_scenarios;
pub use site::Site;
pub use velero::{Background, Outcome, Velero};
pub use wait::eventually;
pub use workspace::workspace;
