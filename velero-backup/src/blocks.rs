//! Item blocks: items that belong together so closely that the hooks of all their pods surround the work on all of them.
//!
//! Pods of one namespace that use claims, or have hooks, wait until the pods of that namespace have been read, and are
//! then united: those that share a claim, those whose claims are of one volume group, and those that an
//! [`ItemBlockAction`](velero_core::action::ItemBlockAction) unites. All this comes from lists that are read anyway. Any
//! other pod is a block of its own and stored at once. Mirrors upstream's `pkg/itemblock` and `pkg/itemblock/actions`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use velero_core::hook::BackupHookRules;
use velero_core::result::{Record, Severity};
use velero_core::{ApiResource, GroupResource, ItemHead, RawItem, ResourceIdentifier};

use crate::Error;
use crate::pod_facts::PodFacts;
use crate::prepared::identify;
use crate::related::{MAX_DEPTH, Wanted};
use crate::run::{CHUNK, Run};

/// One item of a block.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) resource: Arc<ApiResource>,
    pub(crate) item: RawItem,
    /// What is to be known of it if it is a pod.
    pub(crate) pod: Option<Arc<PodFacts>>,
    /// Whether it is among the items counted so far.
    pub(crate) counted: bool,
}

impl Member {
    pub(crate) fn new(resource: Arc<ApiResource>, item: RawItem, rules: &BackupHookRules) -> Self {
        let is_pod = resource.group.is_empty() && resource.plural == "pods";
        let pod = is_pod.then(|| Arc::new(PodFacts::read(&item, rules)));
        Self {
            resource,
            item,
            pod,
            counted: true,
        }
    }

    /// The same, not counted yet.
    pub(crate) fn uncounted(mut self) -> Self {
        self.counted = false;
        self
    }

    pub(crate) fn id(&self) -> ResourceIdentifier {
        identify(&self.resource, &self.item)
    }

    pub(crate) fn claims(&self) -> &[String] {
        self.pod.as_ref().map_or(&[], |pod| &pod.claims)
    }

    pub(crate) fn is_claim(&self) -> bool {
        self.resource.group.is_empty() && self.resource.plural == "persistentvolumeclaims"
    }

    fn has_hooks(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.has_hooks())
    }

    /// Whether others can belong to it, or its block has hooks.
    fn belongs(&self) -> bool {
        self.has_hooks() || !self.claims().is_empty() || self.is_claim()
    }
}

/// Items of one block, in the order in which they are handled.
pub(crate) type Block = Vec<Member>;

/// The pods of the namespace that is being read.
#[derive(Default)]
pub(crate) struct Forming {
    namespace: String,
    pods: Vec<Member>,
    bytes: usize,
    /// Claims of pods whose blocks could not wait for the end of the namespace, and whether hooks ran for them.
    early: HashMap<String, bool>,
}

/// Which of some members belong together.
#[derive(Default)]
pub(crate) struct Groups(Vec<usize>);

impl Groups {
    fn add(&mut self) -> usize {
        self.0.push(self.0.len());
        self.0.len() - 1
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    /// Unites two groups; the root is the earliest member.
    pub(crate) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

/// Members on their way into blocks.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) members: Vec<Member>,
    pub(crate) groups: Groups,
    pub(crate) place: HashMap<ResourceIdentifier, usize>,
    /// The first pod that uses a claim, or the claim itself, by the claim's namespace and name.
    pub(crate) users: BTreeMap<(String, String), usize>,
}

impl Graph {
    pub(crate) fn add(&mut self, member: Member) -> usize {
        let at = self.groups.add();
        let head = member.item.head();
        let own = member.is_claim().then_some(&head.name);
        for claim in member.claims().iter().chain(own) {
            let key = (head.namespace.clone(), claim.clone());
            match self.users.get(&key) {
                Some(user) => self.groups.join(*user, at),
                None => {
                    self.users.insert(key, at);
                }
            }
        }
        self.place.insert(member.id(), at);
        self.members.push(member);
        at
    }

    /// Whether an object is among the members.
    pub(crate) fn has(&self, gr: &GroupResource, head: &ItemHead) -> bool {
        let id = ResourceIdentifier {
            group_resource: gr.clone(),
            namespace: head.namespace.clone(),
            name: head.name.clone(),
        };
        self.place.contains_key(&id)
    }

    fn blocks(mut self) -> Vec<Block> {
        let mut blocks: BTreeMap<usize, Block> = BTreeMap::new();
        for (at, member) in std::mem::take(&mut self.members).into_iter().enumerate() {
            blocks.entry(self.groups.root(at)).or_default().push(member);
        }
        blocks.into_values().collect()
    }
}

impl Run<'_> {
    /// Whether items of a kind can have to wait for others of their namespace.
    pub(crate) fn waits(&self, gr: &GroupResource) -> bool {
        gr.is("", "pods") || (gr.is("", "persistentvolumeclaims") && self.has_selectors())
    }

    /// Takes pods, or claims that bring pods with them, in the order of their list.
    pub(crate) async fn in_namespaces(
        &mut self,
        resource: &Arc<ApiResource>,
        items: Vec<RawItem>,
    ) -> Result<(), Error> {
        let mut alone = Vec::new();
        for item in items {
            if item.head().namespace != self.forming.namespace {
                self.work_and_lay(std::mem::take(&mut alone)).await?;
                self.close_namespace().await?;
                self.forming.namespace = item.head().namespace.clone();
            }
            let member = self.member(Arc::clone(resource), item);
            if member.belongs() || self.actions.relate(&member) {
                self.forming.bytes += member.item.json().len();
                self.forming.pods.push(member);
                if self.forming.bytes > self.options.held_bytes {
                    self.work_and_lay(std::mem::take(&mut alone)).await?;
                    self.form_early().await?;
                }
                continue;
            }
            alone.push(member);
            if alone.len() == CHUNK {
                self.work_and_lay(std::mem::take(&mut alone)).await?;
            }
        }
        self.work_and_lay(alone).await
    }

    /// Handles the pods that wait for the end of their namespace.
    pub(crate) async fn close_namespace(&mut self) -> Result<(), Error> {
        let Forming { pods, early, .. } = std::mem::take(&mut self.forming);
        self.tell_of_early(&pods, &early);
        self.blocks(pods).await?;
        self.forget_running_pods();
        Ok(())
    }

    /// Handles the pods of a namespace that has more of them than may be kept.
    async fn form_early(&mut self) -> Result<(), Error> {
        let pods = std::mem::take(&mut self.forming.pods);
        self.forming.bytes = 0;
        let early = std::mem::take(&mut self.forming.early);
        self.tell_of_early(&pods, &early);
        self.forming.early = early;
        for pod in &pods {
            for claim in pod.claims() {
                *self.forming.early.entry(claim.clone()).or_default() |= pod.has_hooks();
            }
        }
        self.blocks(pods).await
    }

    fn tell_of_early(&mut self, pods: &[Member], early: &HashMap<String, bool>) {
        for pod in pods {
            let shared = pod.claims().iter().find(|claim| {
                early
                    .get(*claim)
                    .is_some_and(|hooked| *hooked || pod.has_hooks())
            });
            if let Some(claim) = shared {
                let head = pod.item.head();
                let message = format!(
                    "it shares claim {claim:?} with pods that were backed up before, because the pods of this namespace are too many to be held until all are read; the hooks of these pods did not run together"
                );
                self.out.record(Record::item(
                    Severity::Warning,
                    "pods",
                    head.namespace.as_str(),
                    head.name.as_str(),
                    message,
                ));
            }
        }
    }

    /// Forms blocks of some items and handles them.
    pub(crate) async fn blocks(&mut self, members: Vec<Member>) -> Result<(), Error> {
        if members.is_empty() {
            return Ok(());
        }
        let blocks = self.form(members, 1).await?;
        self.run_blocks(blocks).await
    }

    /// Forms blocks of some items, of which the first `together` share one. More items can join them.
    pub(crate) async fn form(
        &mut self,
        members: Vec<Member>,
        together: usize,
    ) -> Result<Vec<Block>, Error> {
        let mut graph = Graph::default();
        for member in members {
            let at = graph.add(member);
            if at < together {
                graph.groups.join(0, at);
            }
        }
        loop {
            self.running_pods(&mut graph).await;
            let known = graph.members.len();
            self.volume_groups(&mut graph).await?;
            // Claims that have joined can bring pods in turn.
            if !self.has_selectors() || graph.members.len() == known {
                break;
            }
        }
        self.related(&mut graph).await?;
        Ok(graph.blocks())
    }

    /// Asks actions what belongs to the members, and what belongs to that, and so on.
    async fn related(&mut self, graph: &mut Graph) -> Result<(), Error> {
        if !self.actions.relate_any() {
            return Ok(());
        }
        let mut from = 0;
        for _ in 0..MAX_DEPTH {
            let upto = graph.members.len();
            let mut askers: BTreeMap<ResourceIdentifier, Vec<usize>> = BTreeMap::new();
            let mut wanted = Vec::new();
            for (at, ids) in self.ask(graph, from..upto).await {
                for id in ids {
                    if let Some(known) = graph.place.get(&id) {
                        graph.groups.join(at, *known);
                        continue;
                    }
                    let by = &graph.members[at];
                    let asks = askers.entry(id.clone()).or_default();
                    if asks.is_empty() {
                        wanted.push(Wanted {
                            id,
                            must_include: false,
                            by: format!(
                                "the block of {} {}",
                                by.resource.plural,
                                by.item.head().key().path()
                            ),
                        });
                    }
                    asks.push(at);
                }
            }
            if wanted.is_empty() {
                return Ok(());
            }
            for member in self.find(wanted).await? {
                let id = member.id();
                let place = graph.add(member);
                for asker in askers.get(&id).into_iter().flatten() {
                    graph.groups.join(*asker, place);
                }
            }
            from = upto;
        }
        let message = format!(
            "item-block actions relate items over more than {MAX_DEPTH} steps; not followed any further"
        );
        self.out.record(Record::run(Severity::Error, message));
        Ok(())
    }

    /// What belongs to some members, by what actions say; the claims of pods belong to them where actions look at claims.
    async fn ask(
        &mut self,
        graph: &Graph,
        places: std::ops::Range<usize>,
    ) -> Vec<(usize, Vec<ResourceIdentifier>)> {
        let claims = GroupResource::core("persistentvolumeclaims");
        let with_claims = self.actions.relate_kind(&claims);
        let asked = places.map(|at| {
            let member = graph.members[at].clone();
            let actions = &self.actions;
            async move { (at, actions.related_items(&member).await, member) }
        });
        let answers: Vec<_> = stream::iter(asked)
            .buffered(self.options.concurrency.max(1))
            .collect()
            .await;
        let mut out = Vec::new();
        for (at, (mut ids, records), member) in answers {
            for record in records {
                self.out.record(record);
            }
            if with_claims {
                let namespace = &member.item.head().namespace;
                ids.extend(
                    member.claims().iter().map(|claim| {
                        ResourceIdentifier::namespaced(claims.clone(), namespace, claim)
                    }),
                );
            }
            out.push((at, ids));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, namespace: &str, claims: &[&str]) -> Member {
        let volumes: Vec<_> = claims
            .iter()
            .map(|c| json!({"name": c, "persistentVolumeClaim": {"claimName": c}}))
            .collect();
        let json = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": {"volumes": volumes}});
        let resource = ApiResource {
            plural: "pods".into(),
            ..ApiResource::default()
        };
        let item = RawItem::parse(json.to_string().into()).unwrap();
        Member::new(Arc::new(resource), item, &BackupHookRules::default())
    }

    #[test]
    fn pods_that_share_claims_are_one_block() {
        for (pods, expected) in [
            (
                vec![("a", "n", &["x"][..]), ("b", "n", &["y"])],
                vec!["a", "b"],
            ),
            (
                vec![("a", "n", &["x"]), ("b", "n", &[]), ("c", "n", &["x"])],
                vec!["a c", "b"],
            ),
            (vec![("a", "n", &["x"]), ("b", "m", &["x"])], vec!["a", "b"]),
            (
                vec![
                    ("a", "n", &["x"]),
                    ("b", "n", &["y"]),
                    ("c", "n", &["z"]),
                    ("d", "n", &["z", "x"]),
                    ("e", "n", &["y", "w"]),
                ],
                vec!["a c d", "b e"],
            ),
        ] {
            let mut graph = Graph::default();
            for (name, namespace, claims) in &pods {
                graph.add(pod(name, namespace, claims));
            }
            let blocks: Vec<String> = graph
                .blocks()
                .iter()
                .map(|b| {
                    let names: Vec<_> = b.iter().map(|m| m.item.head().name.as_str()).collect();
                    names.join(" ")
                })
                .collect();
            assert_eq!(blocks, expected, "{pods:?}");
        }
    }
}
