//! Pods that belong to a block although the label selectors of the backup do not match them: those that run and use a
//! claim of the block. The peer takes them in, so that a block is whole.
//!
//! The lists that are read anyway do not hold them: pods are listed once for each namespace in which claims are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use velero_cluster::ListScope;
use velero_core::GroupResource;
use velero_core::result::{Record, Severity, chain};

use crate::blocks::{Graph, Member};
use crate::run::Run;

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
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (namespace, claim) in graph.users.keys().cloned() {
            wanted.entry(namespace).or_default().insert(claim);
        }
        for (namespace, mut claims) in wanted {
            let mut others = self.others(graph, &namespace, &claims).await;
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
        }
    }

    /// The running pods of a namespace with claims that are neither members nor dealt with. When they are too many to be
    /// held, only those that use `claims`.
    async fn others(
        &mut self,
        graph: &Graph,
        namespace: &str,
        claims: &BTreeSet<String>,
    ) -> Vec<Member> {
        let gr = GroupResource::core("pods");
        let Some(resource) = self.request.catalog().get(&gr).cloned().map(Arc::new) else {
            return Vec::new();
        };
        if !self.request.takes_related(&resource, namespace) {
            return Vec::new();
        }
        let options = self.options.list.clone();
        let scope = ListScope {
            field_selector: Some("status.phase=Running".to_owned()),
            ..ListScope::namespace(namespace)
        };
        let mut pages = self.cluster.pages(&resource, scope, options);
        let (mut out, mut bytes) = (Vec::new(), 0);
        loop {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) => return out,
                Err(error) => {
                    let message = format!(
                        "pods that use claims of the backup could not be looked for; those that the label selectors do not match may be missing: {}",
                        chain(&error)
                    );
                    self.out
                        .record(Record::item(Severity::Warning, &gr, namespace, "", message));
                    return out;
                }
            };
            if page.restarted {
                (out, bytes) = (Vec::new(), 0);
            }
            for item in page.items {
                let head = item.head();
                let known = self.is_taken(&resource, head) || graph.has(&gr, head);
                if known || head.phase != "Running" || !crate::request::may_be_stored(head) {
                    continue;
                }
                let size = item.json().len();
                let pod = self.member(Arc::clone(&resource), item);
                let room = bytes < self.options.held_bytes && !pod.claims().is_empty();
                if room || pod.claims().iter().any(|claim| claims.contains(claim)) {
                    bytes += size;
                    out.push(pod.uncounted());
                }
            }
        }
    }
}
