//! Claims that are snapshotted together: those of one namespace with the same value of one label.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use velero_cluster::ListScope;
use velero_core::result::{Record, Severity, chain};
use velero_core::{GroupResource, RawItem, ResourceIdentifier, Selector};

use crate::Error;
use crate::blocks::Graph;
use crate::request::may_be_stored;
use crate::run::Run;

/// Label key by which claims form volume groups when the backup names none: the server's default.
const LABEL: &str = "velero.io/volume-group";

impl Run<'_> {
    /// Unites members whose claims are of one volume group, and adds the claims of the group that no member uses.
    pub(crate) async fn volume_groups(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let gr = GroupResource::core("persistentvolumeclaims");
        let Some(at) = self.kind_of.get(&gr).copied() else {
            return Ok(());
        };
        let groups = self.groups_of(graph, &gr).await?;
        if groups.is_empty() {
            return Ok(());
        }
        let resource = Arc::new(self.kinds[at].resource.clone());
        let namespaces: BTreeSet<&String> = groups.keys().map(|(namespace, _)| namespace).collect();
        for namespace in namespaces {
            self.read_namespace(at, namespace).await?;
        }
        for ((namespace, group), users) in groups {
            for pair in users.windows(2) {
                graph.groups.join(pair[0], pair[1]);
            }
            for claim in self.claims_of_group(at, &namespace, &group) {
                let head = claim.head();
                let key = (namespace.clone(), head.name.clone());
                let known = self.is_taken(&resource, head) || graph.users.contains_key(&key);
                if !known && self.request.takes_related(&resource, &namespace) {
                    let member = self.member(Arc::clone(&resource), claim);
                    let place = graph.add(member.uncounted());
                    graph.groups.join(users[0], place);
                }
            }
        }
        Ok(())
    }

    /// The volume groups of the claims that members are or use, each with those members.
    async fn groups_of(
        &mut self,
        graph: &Graph,
        gr: &GroupResource,
    ) -> Result<BTreeMap<(String, String), Vec<usize>>, Error> {
        let mut groups: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        if graph.users.is_empty() {
            return Ok(groups);
        }
        self.list_groups(gr).await;
        for ((namespace, name), user) in &graph.users {
            let id = ResourceIdentifier::namespaced(gr.clone(), namespace, name);
            let claim = match (graph.place.get(&id), &self.grouped) {
                (Some(at), _) => Some(graph.members[*at].item.clone()),
                (None, Some(all)) => all
                    .iter()
                    .find(|c| c.head().name == *name && c.head().namespace == *namespace)
                    .cloned(),
                (None, None) => self.held(&id).await?,
            };
            if let Some(group) = claim.and_then(|claim| self.volume_group(&claim)) {
                let key = (namespace.clone(), group);
                groups.entry(key).or_default().push(*user);
            }
        }
        Ok(groups)
    }

    fn group_label(&self) -> &str {
        let own = &self.request.backup().spec.volume_group_snapshot_label_key;
        if own.is_empty() { LABEL } else { own }
    }

    /// The volume group of a claim that is bound.
    fn volume_group(&self, claim: &RawItem) -> Option<String> {
        let head = claim.head();
        let group = head.labels.get(self.group_label())?;
        (head.phase == "Bound" && !group.is_empty()).then(|| group.clone())
    }

    fn claims_of_group(&self, at: usize, namespace: &str, group: &str) -> Vec<RawItem> {
        let all: Vec<&RawItem> = match &self.grouped {
            Some(all) => all.iter().collect(),
            None => self.sources[at].held.iter().flatten().collect(),
        };
        let mut claims: Vec<RawItem> = all
            .into_iter()
            .filter(|claim| claim.head().namespace == namespace && may_be_stored(claim.head()))
            .filter(|claim| self.volume_group(claim).as_deref() == Some(group))
            .cloned()
            .collect();
        claims.sort_by(|a, b| a.head().name.cmp(&b.head().name));
        claims
    }

    /// Lists all claims of volume groups, once, where the label selectors of the backup can keep some out of its own list.
    async fn list_groups(&mut self, gr: &GroupResource) {
        if !self.has_selectors() || self.grouped.is_some() {
            return;
        }
        let mut claims = Vec::new();
        let kind = self.kind_of.get(gr).map(|at| Arc::clone(&self.kinds[*at]));
        if let (Some(kind), Ok(selector)) = (kind, self.group_label().parse::<Selector>()) {
            let scope = match kind.names.as_deref() {
                Some([one]) => ListScope::namespace(one),
                _ => ListScope::all(),
            };
            let options = self.options.list.clone();
            let mut pages = self
                .cluster
                .pages(&kind.resource, scope.labels(selector), options);
            loop {
                match pages.next().await {
                    Ok(Some(page)) => {
                        if page.restarted {
                            claims.clear();
                        }
                        claims.extend(page.items);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        let message = format!(
                            "claims of volume groups could not be looked for; those that the label selectors do not match may be missing: {}",
                            chain(&error)
                        );
                        self.out
                            .record(Record::item(Severity::Warning, gr, "", "", message));
                        break;
                    }
                }
            }
        }
        self.grouped = Some(claims);
    }
}
