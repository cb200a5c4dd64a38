//! In-process Kubernetes API server, scripted faults, call counts, and sample data for tests of backup and restore.
//!
//! [`ApiServer`] behaves like a real API server as far as clients of it can see: resource versions, paging with
//! continue tokens, watches, conflicts, finalizers, managed fields and server-side apply, defaulting, discovery,
//! custom resources, namespaces that stay `Terminating` until emptied. No socket is needed: [`ApiServer::client`]
//! hands out a [`kube::Client`] that calls the server directly. [`ApiServer::serve`] opens a loopback port for kubectl
//! and other programs.
//!
//! ```
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use kube::api::{Api, ListParams, PostParams};
//! use velero_testkit::ApiServer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ApiServer::new();
//! let maps: Api<ConfigMap> = Api::namespaced(server.client(), "default");
//! let mut map = ConfigMap::default();
//! map.metadata.name = Some("greeting".into());
//! maps.create(&PostParams::default(), &map).await?;
//! assert_eq!(server.calls().count("create", "configmaps"), 1);
//! # Ok(())
//! # }
//! ```
//!
//! What is not supported answers `501` with a `Status` that names the verb and the resource; nothing is guessed.

mod admission;
mod calls;
mod clock;
pub mod compare;
pub mod conformance;
mod controllers;
mod convert;
mod defaults;
mod discovery;
mod effects;
mod error;
mod exec;
mod faults;
mod fields;
mod ids;
mod kinds;
mod objects;
mod openapi;
mod path;
mod protobuf;
mod query;
mod registry;
mod reply;
mod schema;
mod selector;
mod server;
mod status;
mod store;
mod strategic;
mod tables;
mod validate;
mod verbs;
pub mod world;

pub use calls::{Call, Calls};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, ErrorKind};
pub use exec::{ExecEnding, ExecRequest, ExecResult};
pub use faults::{Fault, FaultAction, Faults};
pub use k8s_openapi;
pub use kube;
pub use server::{
    ApiServer, ApiServerBuilder, ApiService, Controllers, ResponseBody, ServingHandle,
};
pub use store::access::Store;
