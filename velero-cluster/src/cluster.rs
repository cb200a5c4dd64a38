//! A handle on one API server.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use velero_core::{ApiResource, Catalog, ItemTree, RawItem, Selector};

use crate::call::{Call, Caller, Deadlines};
use crate::cancel::Cancel;
use crate::{
    AdaptiveLimiter, Error, ErrorKind, LimiterOptions, ListOptions, ListScope, Pages, Reader,
    Target, discovery,
};

/// How a [`Cluster`] talks to its API server.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// Bounds of the calls under way.
    pub limiter: LimiterOptions,
    /// Longest time for one try of a call; 60 s.
    pub attempt_timeout: Duration,
    /// Longest time for all tries of one call, waits included; 5 min.
    pub call_timeout: Duration,
    /// Longest wait for an answer while the API server has never given one; 20 s. It is not tried again then.
    pub first_answer_timeout: Duration,
    /// How long an API server that cannot be connected to, and has never answered, is tried again; 10 s.
    ///
    /// A certificate that is not trusted is never tried again.
    pub refused_timeout: Duration,
    /// Longest time of a call, and of what is left of those under way, once one has waited `call_timeout` for an API
    /// server that answered nothing to anybody; 10 s. Any answer ends it.
    pub silent_timeout: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            limiter: LimiterOptions::default(),
            attempt_timeout: Duration::from_secs(60),
            call_timeout: Duration::from_secs(300),
            first_answer_timeout: Duration::from_secs(20),
            refused_timeout: Duration::from_secs(10),
            silent_timeout: Duration::from_secs(10),
        }
    }
}

impl ClusterOptions {
    /// Sets the bounds of the calls under way.
    #[must_use]
    pub fn limiter(mut self, limiter: LimiterOptions) -> Self {
        self.limiter = limiter;
        self
    }

    /// Sets the longest time for one try and for all tries of a call.
    #[must_use]
    pub fn timeouts(mut self, attempt: Duration, call: Duration) -> Self {
        (self.attempt_timeout, self.call_timeout) = (attempt, call);
        self
    }

    /// Sets how long an API server that has never answered is waited for, and tried again.
    #[must_use]
    pub fn first_contact(mut self, answer: Duration, refused: Duration) -> Self {
        (self.first_answer_timeout, self.refused_timeout) = (answer, refused);
        self
    }

    /// Sets the longest time of calls to an API server that has fallen silent.
    #[must_use]
    pub fn silent(mut self, limit: Duration) -> Self {
        self.silent_timeout = limit;
        self
    }
}

/// The version that an API server says it has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ServerVersion {
    /// `v1.33.1`.
    pub git_version: String,
    /// `1`.
    pub major: String,
    /// `33`, sometimes with a plus sign.
    pub minor: String,
}

/// A handle on one API server: what it serves, reads and writes, all through one [`AdaptiveLimiter`].
///
/// Clones share the client, the catalogue and the limiter.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use velero_cluster::{Cluster, ListOptions, ListScope, client_from};
///
/// let client = client_from(velero_cluster::kube::Config::infer().await?, "")?;
/// let cluster = Cluster::connect(client).await?;
/// let catalog = cluster.catalog();
/// let pods = catalog.resolve("pods").ok_or("no pods here")?;
/// let mut pages = cluster.pages(pods, ListScope::all(), ListOptions::default());
/// while let Some(page) = pages.next().await? {
///     for pod in &page.items {
///         println!("{}", pod.head().name);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cluster {
    pub(crate) caller: Caller,
    catalog: Arc<RwLock<Catalog>>,
    /// Whether the API server only tries writes out.
    dry_run: bool,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("resources", &self.catalog().resources().len())
            .field("limiter", &self.caller.limiter)
            .finish()
    }
}

impl Cluster {
    /// Finds out what the API server serves.
    ///
    /// # Errors
    /// When the API server does not answer or refuses the discovery roots. A group that fails on its own is listed in
    /// [`Catalog::failures`]. An API server that never answers is reported within seconds, one whose certificate is not
    /// trusted at once; [`Error::no_answer`] has the address and the cause.
    pub async fn connect(client: kube::Client) -> Result<Self, Error> {
        Self::connect_with(client, ClusterOptions::default()).await
    }

    /// As [`Cluster::connect`], with options.
    ///
    /// # Errors
    /// As [`Cluster::connect`].
    pub async fn connect_with(
        client: kube::Client,
        options: ClusterOptions,
    ) -> Result<Self, Error> {
        let cluster = Self::with_catalog(client, Catalog::default(), options);
        cluster.refresh().await?;
        Ok(cluster)
    }

    /// Takes a catalogue that is known already; makes no call.
    pub fn with_catalog(client: kube::Client, catalog: Catalog, options: ClusterOptions) -> Self {
        let deadlines = Deadlines {
            attempt: options.attempt_timeout,
            total: options.call_timeout,
            first_answer: options.first_answer_timeout,
            refused: options.refused_timeout,
            silent: options.silent_timeout,
        };
        let limiter = AdaptiveLimiter::new(options.limiter);
        let caller = Caller::new(client, limiter, deadlines);
        Self {
            caller,
            catalog: Arc::new(RwLock::new(catalog)),
            dry_run: false,
        }
    }

    /// This cluster for somebody who may only look: each write is sent as one that the API server tries out and does not
    /// keep (`dryRun=All`), whatever its options say, and commands in containers are refused.
    ///
    /// It has a catalogue of its own, which may hold more than what is served by now; calls go through the same limiter.
    #[must_use]
    pub fn dry_run(&self, catalog: Catalog) -> Self {
        Self {
            caller: self.caller.clone(),
            catalog: Arc::new(RwLock::new(catalog)),
            dry_run: true,
        }
    }

    /// This cluster for one run: once `token` is cancelled, its calls end within `grace`, and no more are sent. A call that
    /// ends so fails as [`ErrorKind::Cancelled`]; one that may have been carried out says that.
    ///
    /// Commands in containers and watches are not ended.
    #[must_use]
    pub fn cancelled_by(&self, token: CancellationToken, grace: Duration) -> Self {
        let mut cluster = self.clone();
        cluster.caller.cancel = Some(Cancel::new(token, grace));
        cluster
    }

    /// Whether writes are only tried out.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Runs discovery again, for all clones.
    ///
    /// # Errors
    /// As [`Cluster::connect`]; the old catalogue stays then.
    pub async fn refresh(&self) -> Result<Catalog, Error> {
        let catalog = discovery::discover(&self.caller).await?;
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = catalog.clone();
        Ok(catalog)
    }

    /// What the API server serves, as of the last discovery.
    pub fn catalog(&self) -> Catalog {
        self.catalog
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The limiter that all calls go through.
    pub fn limiter(&self) -> &AdaptiveLimiter {
        &self.caller.limiter
    }

    /// The client that calls are made with.
    pub fn client(&self) -> &kube::Client {
        &self.caller.client
    }

    /// A [`ClusterReader`](velero_core::action::ClusterReader) over the present catalogue.
    pub fn reader(&self) -> Reader {
        Reader::new(self.clone())
    }

    /// Asks for the API server's version.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn server_version(&self) -> Result<ServerVersion, Error> {
        let target = Target {
            verb: "discover",
            resource: "/version".into(),
            ..Target::default()
        };
        let body = self
            .caller
            .whole(&Call::read(target.clone(), "/version".into()))
            .await?;
        serde_json::from_slice(&body).map_err(|e| Error::Answer {
            target,
            reason: e.to_string(),
        })
    }

    /// Reads one object; `None` when it does not exist. `namespace` is empty for cluster-scoped objects.
    ///
    /// # Errors
    /// When the API server refuses, does not answer, or does not serve the resource.
    pub async fn get(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<RawItem>, Error> {
        let target = target("get", resource, namespace, name);
        let call = Call::read(target.clone(), resource.path(Some(namespace), Some(name)));
        match self.caller.whole(&call).await {
            Ok(body) => item(&target, body).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists objects page by page.
    pub fn pages(&self, resource: &ApiResource, scope: ListScope, options: ListOptions) -> Pages {
        Pages::new(self.caller.clone(), resource, scope, options)
    }

    /// Lists objects as trees, in one namespace or everywhere when `namespace` is `None`. For kinds with few objects.
    ///
    /// # Errors
    /// When the API server refuses or does not answer, or an element of the list is no object.
    pub async fn list_trees(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        selector: &Selector,
    ) -> Result<Vec<ItemTree>, Error> {
        let scope = ListScope {
            namespace: namespace.map(str::to_owned),
            selector: selector.clone(),
            field_selector: None,
        };
        let mut pages = self.pages(resource, scope, ListOptions::default());
        let mut out: Vec<ItemTree> = Vec::new();
        while let Some(page) = pages.next().await? {
            if page.restarted {
                out.clear();
            }
            if let Some(bad) = page.bad.first() {
                return Err(Error::Answer {
                    target: target("list", resource, "", ""),
                    reason: bad.reason.clone(),
                });
            }
            for item in &page.items {
                let tree = item.tree().map_err(|e| Error::Answer {
                    target: target("list", resource, "", ""),
                    reason: velero_core::result::chain(&e),
                })?;
                out.push(tree);
            }
        }
        Ok(out)
    }
}

/// Says what a call on a resource is about.
pub(crate) fn target(
    verb: &'static str,
    resource: &ApiResource,
    namespace: &str,
    name: &str,
) -> Target {
    Target {
        verb,
        resource: resource.group_resource().to_string(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// Reads the object that an API server answered with.
pub(crate) fn item(target: &Target, body: bytes::Bytes) -> Result<RawItem, Error> {
    RawItem::parse(body).map_err(|e| Error::Answer {
        target: target.clone(),
        reason: velero_core::result::chain(&e),
    })
}
