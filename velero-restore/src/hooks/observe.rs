//! Looking at pods: one watch for each namespace that has pods with hooks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;
use velero_cluster::{Change, ListOptions, ListScope};
use velero_core::names::labels;
use velero_core::result::chain;
use velero_core::{ApiResource, GroupResource, Operator, RawItem, Requirement, Selector};

use super::Shared;
use super::seen::{PodView, Seen};

/// Longest time of one watch; the list that follows shows what has gone meanwhile.
const WATCH: Duration = Duration::from_secs(240);
/// Longest pause after lists and watches that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a namespace without pods to look at is watched: more may come.
const LINGER: Duration = Duration::from_secs(5);

/// The pods of a namespace that are looked at.
#[derive(Debug, Default)]
pub(super) struct Space {
    pods: HashMap<String, Observed>,
    /// Pods with hooks that were seen before their creation was answered.
    early: HashMap<String, PodView>,
}

#[derive(Debug)]
struct Observed {
    uid: String,
    seen: watch::Sender<Seen>,
}

/// The namespaces that are looked at.
pub(super) type Spaces = std::sync::Mutex<HashMap<String, Space>>;

impl Shared {
    /// Looks at a pod from now on.
    pub(super) fn observe(
        self: &Arc<Self>,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> watch::Receiver<Seen> {
        let (sender, receiver) = watch::channel(Seen::default());
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !spaces.contains_key(namespace);
        let space = spaces.entry(namespace.to_owned()).or_default();
        if let Some(view) = space.early.remove(name).filter(|v| v.metadata.uid == uid) {
            sender.send_modify(|seen| seen.update(&view, Instant::now()));
        }
        let observed = Observed {
            uid: uid.to_owned(),
            seen: sender,
        };
        space.pods.insert(name.to_owned(), observed);
        drop(spaces);
        if is_new {
            let (shared, namespace) = (Arc::clone(self), namespace.to_owned());
            let looking = async move {
                tokio::select! {
                    () = shared.stop.cancelled() => {}
                    () = shared.until_idle(&namespace) => {}
                    () = shared.look(&namespace) => {}
                }
            };
            tokio::spawn(looking.in_current_span());
        }
        receiver
    }

    /// Does not look at a pod any more.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        self.with(namespace, |space| {
            space.pods.remove(name);
        });
    }

    /// Waits until a namespace has had no pods to look at for some time, and takes it off the list.
    async fn until_idle(&self, namespace: &str) {
        let mut was_idle = false;
        loop {
            sleep(LINGER).await;
            let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
            let is_idle = spaces.get(namespace).is_none_or(|s| s.pods.is_empty());
            if is_idle && was_idle {
                spaces.remove(namespace);
                return;
            }
            was_idle = is_idle;
        }
    }

    /// Lists and watches again and again. Where no more watches may be open, or none is allowed, lists have to do.
    async fn look(&self, namespace: &str) {
        let mut pause = self.poll;
        loop {
            match self.look_once(namespace).await {
                Ok(()) => pause = self.poll,
                Err(error) => {
                    let reason = chain(&error);
                    tracing::debug!(namespace, reason, "pods with hooks cannot be looked at");
                    self.with(namespace, |space| {
                        for pod in space.pods.values() {
                            pod.seen.send_modify(|seen| seen.set_trouble(&reason));
                        }
                    });
                    pause = (pause * 2).min(LONGEST_PAUSE.max(self.poll));
                }
            }
            sleep(pause).await;
        }
    }

    async fn look_once(&self, namespace: &str) -> Result<(), velero_cluster::Error> {
        let catalog = self.cluster.catalog();
        let resource = GroupResource::core("pods");
        let Some(pods) = catalog.get(&resource) else {
            return Err(velero_cluster::Error::Unserved { resource });
        };
        let scope = ListScope::namespace(namespace).labels(self.selector());
        self.list(namespace, pods, scope.clone()).await?;
        let Ok(_permit) = self.watches.try_acquire() else {
            // The more namespaces there are, the less often each is listed.
            let others = self
                .spaces
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .len();
            let factor = u32::try_from(others / self.max_watches.max(1)).unwrap_or(u32::MAX);
            sleep(self.poll.saturating_mul(factor)).await;
            return Ok(());
        };
        let mut watch = self.cluster.watch::<PodView>(pods, &scope, WATCH).await?;
        while let Some(change) = watch.next().await? {
            match change {
                Change::Present(view) => self.see(namespace, view),
                // It may have lost the label that it is looked for by.
                Change::Left(view) => self.confirm(namespace, pods, &view.metadata.name).await?,
            }
        }
        Ok(())
    }

    /// Pods that carry the label of this restore.
    fn selector(&self) -> Selector {
        Selector::new(vec![Requirement {
            key: labels::RESTORE_NAME.to_owned(),
            operator: Operator::In,
            values: vec![self.label.clone()],
        }])
    }

    async fn list(
        &self,
        namespace: &str,
        pods: &ApiResource,
        scope: ListScope,
    ) -> Result<(), velero_cluster::Error> {
        let mut missing: HashSet<String> = HashSet::new();
        self.with(namespace, |space| {
            missing.extend(space.pods.keys().cloned())
        });
        let mut pages = self.cluster.pages(pods, scope, ListOptions::default());
        while let Some(page) = pages.next().await? {
            for item in &page.items {
                missing.remove(&item.head().name);
                self.see_item(namespace, item);
            }
        }
        for name in missing {
            self.confirm(namespace, pods, &name).await?;
        }
        Ok(())
    }

    /// Looks at a single pod that a list or a watch does not show any more.
    async fn confirm(
        &self,
        namespace: &str,
        pods: &ApiResource,
        name: &str,
    ) -> Result<(), velero_cluster::Error> {
        let mut is_wanted = false;
        self.with(namespace, |space| {
            space.early.remove(name);
            is_wanted = space.pods.contains_key(name);
        });
        if !is_wanted {
            return Ok(());
        }
        match self.cluster.get(pods, namespace, name).await? {
            Some(item) => self.see_item(namespace, &item),
            None => self.with(namespace, |space| {
                if let Some(pod) = space.pods.get(name) {
                    pod.seen.send_modify(Seen::set_gone);
                }
            }),
        }
        Ok(())
    }

    fn see_item(&self, namespace: &str, item: &RawItem) {
        match serde_json::from_slice::<PodView>(item.json()) {
            Ok(view) => self.see(namespace, view),
            Err(error) => {
                tracing::warn!(namespace, name = item.head().name, %error, "a pod cannot be understood");
            }
        }
    }

    fn see(&self, namespace: &str, view: PodView) {
        self.with(namespace, |space| {
            let metadata = &view.metadata;
            if let Some(pod) = space.pods.get(&metadata.name) {
                if pod.uid == metadata.uid {
                    pod.seen
                        .send_modify(|seen| seen.update(&view, Instant::now()));
                } else {
                    pod.seen.send_modify(Seen::set_gone);
                }
                return;
            }
            let own = metadata.labels.clone().unwrap_or_default();
            let annotations = metadata.annotations.clone().unwrap_or_default();
            let hooks = self.rules.of_pod(namespace, &own, &annotations);
            if !hooks.calls.is_empty() {
                space.early.insert(metadata.name.clone(), view);
            }
        });
    }

    fn with(&self, namespace: &str, work: impl FnOnce(&mut Space)) {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(space) = spaces.get_mut(namespace) {
            work(space);
        }
    }
}
