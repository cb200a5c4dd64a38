//! Settings of a server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use super::{ApiServer, Inner, Options};
use crate::calls::Calls;
use crate::clock::{Clock, SystemClock};
use crate::faults::Faults;
use crate::store::State;
use crate::verbs::{CreateOptions, create_tree};

/// Which controllers run beside the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Controllers {
    /// Only those without which an API server behaves strangely: contents of namespaces, the garbage collector,
    /// protection of claims and volumes, establishing of custom resources.
    #[default]
    Essential,
    /// Also workloads (ReplicaSets and running pods) and volumes (claims are provisioned and bound).
    All,
}

/// Builds an [`ApiServer`].
#[derive(Clone)]
pub struct ApiServerBuilder {
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    first_resource_version: u64,
    history: usize,
    options: Options,
}

impl std::fmt::Debug for ApiServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServerBuilder")
            .field("seed", &self.seed)
            .field("controllers", &self.options.controllers)
            .finish_non_exhaustive()
    }
}

impl Default for ApiServerBuilder {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            seed: None,
            first_resource_version: 1000,
            history: 100_000,
            options: Options {
                namespace_delay: Duration::ZERO,
                crd_delay: Duration::ZERO,
                garbage_collection: true,
                controllers: Controllers::Essential,
                exec: None,
            },
        }
    }
}

impl ApiServerBuilder {
    /// Takes the time from `clock`. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Takes the time from a clock that the caller keeps.
    #[must_use]
    pub fn shared_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes uids and generated names reproducible. Default: different for each server.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Version before the first write. Default 1000.
    #[must_use]
    pub fn first_resource_version(mut self, version: u64) -> Self {
        self.first_resource_version = version;
        self
    }

    /// How many events of each resource are kept for watches. Default 100,000.
    #[must_use]
    pub fn watch_history(mut self, events: usize) -> Self {
        self.history = events;
        self
    }

    /// How long a deleted namespace (and what an owner's deletion takes with it) stays. Default: no time at all, but
    /// never within the request itself.
    #[must_use]
    pub fn namespace_delay(mut self, delay: Duration) -> Self {
        self.options.namespace_delay = delay;
        self
    }

    /// How long a new CustomResourceDefinition takes until it is established. Default: established at once.
    #[must_use]
    pub fn crd_delay(mut self, delay: Duration) -> Self {
        self.options.crd_delay = delay;
        self
    }

    /// Whether dependents are deleted with their last owner. Default true.
    #[must_use]
    pub fn garbage_collection(mut self, on: bool) -> Self {
        self.options.garbage_collection = on;
        self
    }

    /// Which controllers run. Default [`Controllers::Essential`].
    #[must_use]
    pub fn controllers(mut self, controllers: Controllers) -> Self {
        self.options.controllers = controllers;
        self
    }

    /// Answers commands in containers (`exec` of pods). Default: none, `exec` then answers 501.
    ///
    /// ```
    /// use velero_testkit::{ApiServer, ExecResult};
    /// let server = ApiServer::builder()
    ///     .exec(|request| match request.command[0].as_str() {
    ///         "true" => ExecResult::default(),
    ///         other => ExecResult::failure(127, format!("{other}: not found")),
    ///     })
    ///     .build();
    /// ```
    #[must_use]
    pub fn exec(
        mut self,
        handler: impl Fn(crate::ExecRequest) -> crate::ExecResult + Send + Sync + 'static,
    ) -> Self {
        self.options.exec = Some(Arc::new(handler));
        self
    }

    /// Starts the server.
    #[must_use]
    pub fn build(self) -> ApiServer {
        let seed = self
            .seed
            .unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
        let inner = Arc::new(Inner {
            state: Mutex::new(State::new(seed, self.first_resource_version, self.history)),
            clock: self.clock,
            calls: Calls::default(),
            faults: Faults::default(),
            options: self.options,
        });
        furnish(&inner);
        crate::controllers::furnish(&inner);
        ApiServer { inner }
    }
}

/// Puts into a new cluster what every cluster has.
fn furnish(inner: &Arc<Inner>) {
    let mut state = inner.lock();
    let options = CreateOptions {
        manager: "kube-apiserver".into(),
        ..CreateOptions::default()
    };
    let namespaces = ["default", "kube-node-lease", "kube-public", "kube-system"];
    let mut objects: Vec<(&str, &str, Option<&str>, serde_json::Value)> = namespaces
        .iter()
        .map(|name| ("v1", "Namespace", None, json!({"metadata": {"name": name}})))
        .collect();
    objects.push((
        "v1",
        "Service",
        Some("default"),
        json!({
            "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {
                "clusterIP": "10.0.0.1", "type": "ClusterIP", "sessionAffinity": "None",
                "internalTrafficPolicy": "Cluster",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            },
        }),
    ));
    for (name, value, text) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        objects.push((
            "scheduling.k8s.io/v1",
            "PriorityClass",
            None,
            json!({"metadata": {"name": name}, "value": value, "description": text, "preemptionPolicy": "PreemptLowerPriority"}),
        ));
    }
    for (api_version, kind, namespace, tree) in objects {
        let Some(resource) = state.registry.by_kind(api_version, kind) else {
            continue;
        };
        if let Err(error) = create_tree(inner, &mut state, &resource, namespace, tree, &options) {
            tracing::debug!(kind, message = error.message, "cluster not furnished");
        }
    }
}
