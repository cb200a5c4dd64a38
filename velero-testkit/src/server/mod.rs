//! The server: its state, how it is built, and how a request goes through it.

mod builder;
mod handle;
mod serve;
mod service;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

pub use builder::{ApiServerBuilder, Controllers};
pub use serve::ServingHandle;
pub use service::{ApiService, ResponseBody};

use crate::calls::Calls;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::store::State;
use crate::store::access::Store;

/// What a server was built with.
#[derive(Clone)]
pub(crate) struct Options {
    /// How long the contents of a deleted namespace stay.
    pub(crate) namespace_delay: Duration,
    /// How long a new definition takes to be served.
    pub(crate) crd_delay: Duration,
    /// Whether dependents go with their owner.
    pub(crate) garbage_collection: bool,
    pub(crate) controllers: Controllers,
    /// What answers commands in containers.
    pub(crate) exec: Option<crate::exec::ExecHandler>,
}

/// What all handles of a server share.
pub(crate) struct Inner {
    state: Mutex<State>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) calls: Calls,
    pub(crate) faults: Faults,
    pub(crate) options: Options,
}

impl Inner {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// An in-process Kubernetes API server.
///
/// A handle: clones share one server. The server lives as long as any handle, client or watch does.
///
/// ```
/// use velero_testkit::ApiServer;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = ApiServer::builder().seed(7).build();
/// let version = server.client().apiserver_version().await?;
/// assert_eq!(version.major, "1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer")
            .field("resource_version", &self.inner.lock().rv)
            .finish_non_exhaustive()
    }
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl ApiServer {
    /// A server with default settings: namespaces `default`, `kube-system`, `kube-public` and `kube-node-lease`, the
    /// `kubernetes` Service, and no controllers beyond those that every cluster needs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Settings of a server to be.
    #[must_use]
    pub fn builder() -> ApiServerBuilder {
        ApiServerBuilder::default()
    }

    /// A client that calls this server directly, without a socket.
    ///
    /// Must be called inside a tokio runtime, as [`kube::Client::new`] must.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// A client whose requests carry this `User-Agent`.
    #[must_use]
    pub fn client_with_user_agent(&self, user_agent: &str) -> kube::Client {
        kube::Client::new(self.service().with_user_agent(user_agent), "default")
    }

    /// The server as a [`tower::Service`], to put layers around it.
    #[must_use]
    pub fn service(&self) -> ApiService {
        ApiService::new(self.inner.clone())
    }

    /// The calls received so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.inner.calls.clone()
    }

    /// The faults that calls run into.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.inner.faults.clone()
    }

    /// The objects, reached without a call.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(self.inner.clone())
    }

    /// Forgets the history: watches from older versions and continue tokens answer `410 Gone`, as after a compaction.
    pub fn compact(&self) {
        self.inner.lock().compact();
    }
}
