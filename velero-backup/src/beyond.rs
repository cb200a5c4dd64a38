//! Pods that belong to a block although the label selectors of the backup do not match them: those that run and use a
//! claim of the block. The peer takes them in, so that a block is whole.
//!
//! The lists that are read anyway do not hold them. They come from one list of the running pods of the cluster, read as
//! far as blocks need it, by the rule for the lists of kinds: one namespace is listed by itself, and so are some where
//! that is cheaper or where the list of the cluster is forbidden. From where on its pods with claims are more than may
//! be held, it is left, and each namespace that follows is listed by itself, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use velero_cluster::{ErrorKind, ListScope, Page, Pages};
use velero_core::result::{Record, Severity, chain};
use velero_core::{ApiResource, GroupResource, RawItem};

use crate::blocks::{Graph, Member};
use crate::lister::by_namespace_is_cheaper;
use crate::run::Run;

/// The field selector of pods that run.
const RUNNING: &str = "status.phase=Running";

/// The running pods with claims, as far as they have been read.
#[derive(Default)]
pub(crate) struct Beyond {
    list: List,
    /// The namespace that the list has come to; those before it, as lists are sorted, are known.
    upto: String,
    held: BTreeMap<String, Vec<Member>>,
    bytes: usize,
    /// Namespaces that were listed by themselves and are held.
    alone: BTreeSet<String>,
}

/// How the list of the cluster stands.
#[derive(Default)]
enum List {
    #[default]
    NotBegun,
    Open(Box<Pages>),
    /// Read to its end, or to where an error ended it that has been told: nothing more can be known.
    Ended,
    /// Not read any further; namespaces are listed by themselves.
    Left,
}

/// The place of a namespace in the lists of a cluster, where `a-b/` comes before `a/`.
fn place(namespace: &str) -> String {
    format!("{namespace}/")
}

fn size(pods: &[Member]) -> usize {
    pods.iter().map(|pod| pod.item.json().len()).sum()
}

impl Beyond {
    fn knows(&self, namespace: &str) -> bool {
        matches!(self.list, List::Ended)
            || place(namespace) < place(&self.upto)
            || self.alone.contains(namespace)
    }

    fn keep(&mut self, namespace: &str, pods: Vec<Member>) {
        if !pods.is_empty() {
            self.bytes += size(&pods);
            let all = self.held.entry(namespace.to_owned()).or_default();
            all.extend(pods);
        }
    }

    fn take(&mut self, namespace: &str) -> Vec<Member> {
        let pods = self.held.remove(namespace).unwrap_or_default();
        self.bytes -= size(&pods);
        pods
    }

    /// Leaves the list at a namespace, whose pods may not all be held.
    fn leave(&mut self, namespace: &str) {
        self.take(namespace);
        namespace.clone_into(&mut self.upto);
        self.list = List::Left;
    }
}

impl Run<'_> {
    /// Whether objects can lie beyond the backup's label selectors.
    pub(crate) fn has_selectors(&self) -> bool {
        !self.request.selectors().matches_everything()
    }

    /// Adds the running pods that use claims of the members.
    pub(crate) async fn running_pods(&mut self, graph: &mut Graph) {
        if !self.has_selectors() {
            return;
        }
        let gr = GroupResource::core("pods");
        let Some(resource) = self.request.catalog().get(&gr).cloned().map(Arc::new) else {
            return;
        };
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (namespace, claim) in graph.users.keys().cloned() {
            wanted.entry(namespace).or_default().insert(claim);
        }
        for (namespace, mut claims) in wanted {
            if !self.request.takes_related(&resource, &namespace) {
                continue;
            }
            let mut others = self.others(&resource, &namespace, &claims).await;
            others.retain(|pod| {
                let head = pod.item.head();
                !self.is_taken(&resource, head) && !graph.has(&gr, head)
            });
            loop {
                let uses = |pod: &Member| pod.claims().iter().any(|c| claims.contains(c));
                let (joining, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(uses);
                others = rest;
                if joining.is_empty() {
                    break;
                }
                for pod in joining {
                    claims.extend(pod.claims().iter().cloned());
                    graph.add(pod);
                }
            }
            if self.beyond.knows(&namespace) {
                self.beyond.keep(&namespace, others);
            }
        }
    }

    /// Lets go of the running pods once no kind that follows can ask for them.
    pub(crate) fn forget_running_pods(&mut self) {
        let needed = |plural| self.kind_of.get(&GroupResource::core(plural));
        let last = needed("pods").max(needed("persistentvolumeclaims"));
        if last.is_none_or(|last| *last < self.current) {
            self.beyond = Beyond::default();
        }
    }

    /// The running pods of a namespace with claims. When they are too many to be held, only those that use `claims`.
    async fn others(
        &mut self,
        resource: &Arc<ApiResource>,
        namespace: &str,
        claims: &BTreeSet<String>,
    ) -> Vec<Member> {
        while !self.beyond.knows(namespace) && !matches!(self.beyond.list, List::Left) {
            self.read_on(resource).await;
        }
        if self.beyond.knows(namespace) {
            return self.beyond.take(namespace);
        }
        self.others_alone(resource, namespace, claims).await
    }

    /// Reads the next page of the list of the cluster.
    async fn read_on(&mut self, resource: &Arc<ApiResource>) {
        let names = self.request.namespaces().names();
        let named = names.map(<[String]>::len);
        let list = std::mem::take(&mut self.beyond.list);
        let (mut pages, first) = match list {
            List::NotBegun if named == Some(1) => {
                self.beyond.list = List::Left;
                return;
            }
            List::NotBegun => {
                // A field selector spares what does not run, but the API server then does not say how much follows, as
                // must be known where some namespaces can be cheaper by themselves.
                let running = named.is_none().then(|| RUNNING.to_owned());
                let scope = ListScope {
                    field_selector: running,
                    ..ListScope::all()
                };
                let options = self.options.list.clone();
                (Box::new(self.cluster.pages(resource, scope, options)), true)
            }
            List::Open(pages) => (pages, false),
            left => {
                self.beyond.list = left;
                return;
            }
        };
        match pages.next().await {
            Ok(Some(page)) => {
                let wasteful =
                    first && named.is_some_and(|named| self.wastes(named, &page, &pages));
                self.beyond.list = List::Open(pages);
                self.hold_running(resource, page);
                if wasteful && matches!(self.beyond.list, List::Open(_)) {
                    let last = self.beyond.upto.clone();
                    self.beyond.leave(&last);
                }
            }
            Ok(None) => self.beyond.list = List::Ended,
            Err(error) if error.kind() == ErrorKind::Forbidden => self.beyond.list = List::Left,
            Err(error) => {
                self.beyond.list = List::Ended;
                self.tell_of_pods("", &error);
            }
        }
    }

    fn wastes(&self, named: usize, page: &Page, pages: &Pages) -> bool {
        let size = u64::from(pages.page_size().min(self.options.list.page_size));
        let remaining = page.remaining.unwrap_or_default();
        by_namespace_is_cheaper(named, self.request.live_namespaces(), remaining, size)
    }

    /// Holds what a page of the list of the cluster brings, as far as there is room.
    fn hold_running(&mut self, resource: &Arc<ApiResource>, page: Page) {
        if page.restarted {
            let list = std::mem::take(&mut self.beyond.list);
            self.beyond = Beyond {
                list,
                ..Beyond::default()
            };
        }
        for item in page.items {
            let namespace = item.head().namespace.clone();
            self.beyond.upto.clone_from(&namespace);
            let Some(pod) = self.other(resource, item) else {
                continue;
            };
            if self.beyond.bytes >= self.options.held_bytes {
                self.beyond.leave(&namespace);
                return;
            }
            self.beyond.keep(&namespace, vec![pod]);
        }
    }

    /// A pod as others of its block would bring it in; `None` where that cannot be.
    fn other(&self, resource: &Arc<ApiResource>, item: RawItem) -> Option<Member> {
        let head = item.head();
        let can_join = head.phase == "Running"
            && crate::request::may_be_stored(head)
            && self.request.takes_related(resource, &head.namespace)
            && !self.is_taken(resource, head);
        can_join
            .then(|| self.member(Arc::clone(resource), item).uncounted())
            .filter(|pod| !pod.claims().is_empty())
    }

    /// Lists the running pods of one namespace. They are held for the next who asks where there is room for all.
    async fn others_alone(
        &mut self,
        resource: &Arc<ApiResource>,
        namespace: &str,
        claims: &BTreeSet<String>,
    ) -> Vec<Member> {
        let scope = ListScope {
            field_selector: Some(RUNNING.to_owned()),
            ..ListScope::namespace(namespace)
        };
        let options = self.options.list.clone();
        let mut pages = self.cluster.pages(resource, scope, options);
        let (mut out, mut bytes, mut whole) = (Vec::new(), self.beyond.bytes, true);
        loop {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) => {
                    self.tell_of_pods(namespace, &error);
                    break;
                }
            };
            if page.restarted {
                (out, bytes, whole) = (Vec::new(), self.beyond.bytes, true);
            }
            for item in page.items {
                let Some(pod) = self.other(resource, item) else {
                    continue;
                };
                let room = bytes < self.options.held_bytes;
                whole &= room;
                if room || pod.claims().iter().any(|claim| claims.contains(claim)) {
                    bytes += pod.item.json().len();
                    out.push(pod);
                }
            }
        }
        if whole {
            self.beyond.alone.insert(namespace.to_owned());
        }
        out
    }

    fn tell_of_pods(&mut self, namespace: &str, error: &velero_cluster::Error) {
        let message = format!(
            "pods that use claims of the backup could not be looked for; those that the label selectors do not match may be missing: {}",
            chain(error)
        );
        self.out.record(Record::item(
            Severity::Warning,
            "pods",
            namespace,
            "",
            message,
        ));
    }
}
