//! Which cluster role bindings name which service account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use velero_cluster::ListScope;
use velero_core::action::{ActionError, ClusterReader, text};
use velero_core::result::{Record, Severity, chain};
use velero_core::{ApiResource, GroupResource, ItemTree, RawItem, Selector};

use crate::Error;
use crate::blocks::Member;
use crate::reach::bad_element;
use crate::run::Run;

pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// A cluster role binding and its cluster role, if it has one.
pub(crate) type Binding = (String, Option<String>);

/// Cluster role bindings by the service accounts that they name.
#[derive(Debug, Default)]
pub(crate) struct Bindings(HashMap<(String, String), Vec<Binding>>);

impl Bindings {
    pub(crate) fn add(&mut self, binding: &ItemTree) {
        let role = binding.str_at("/roleRef/name");
        let is_role = binding.str_at("/roleRef/kind") == "ClusterRole" && !role.is_empty();
        let role = is_role.then(|| role.to_owned());
        for subject in binding.array_at("/subjects") {
            if text(subject, "kind") != "ServiceAccount" {
                continue;
            }
            let key = |field| text(subject, field).to_owned();
            let entry = (binding.name().to_owned(), role.clone());
            let list = self.0.entry((key("namespace"), key("name"))).or_default();
            if !list.contains(&entry) {
                list.push(entry);
            }
        }
    }

    fn of(&self, account: &ItemTree) -> &[Binding] {
        let key = (account.namespace().to_owned(), account.name().to_owned());
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }
}

/// The bindings of one run, read once.
#[derive(Debug, Default)]
pub(crate) struct KnownBindings {
    all: OnceCell<Bindings>,
    /// Why they are not known, until it has been told.
    failure: Mutex<Option<ActionError>>,
}

impl KnownBindings {
    fn are_read(&self) -> bool {
        self.all.initialized()
    }

    /// Notes what has been read. What is known already stays.
    fn put(&self, read: Result<Bindings, ActionError>) {
        if !self.are_read() {
            let all = self.checked(read);
            // Whoever was first has read the same.
            let _ = self.all.set(all);
        }
    }

    fn checked(&self, read: Result<Bindings, ActionError>) -> Bindings {
        read.unwrap_or_else(|error| {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            *failure = Some(error);
            Bindings::default()
        })
    }

    /// The bindings of a service account; where nobody has read them yet, they are listed.
    ///
    /// # Errors
    /// When they cannot be listed. The first to ask gets that error, all others nothing.
    pub(crate) async fn of(
        &self,
        account: &ItemTree,
        cluster: &dyn ClusterReader,
    ) -> Result<&[Binding], ActionError> {
        let all = self
            .all
            .get_or_init(|| async { self.checked(listed(cluster).await) })
            .await;
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.take() {
            Some(error) => Err(ActionError::with_source(
                "the cluster role bindings cannot be listed, so no service account brings its own into the backup",
                error,
            )),
            None => Ok(all.of(account)),
        }
    }
}

fn resource() -> GroupResource {
    GroupResource::new(GROUP, "clusterrolebindings")
}

async fn listed(cluster: &dyn ClusterReader) -> Result<Bindings, ActionError> {
    let mut out = Bindings::default();
    if cluster.catalog().get(&resource()).is_some() {
        let all = cluster.list(&resource(), "", &Selector::default()).await?;
        all.iter().for_each(|binding| out.add(binding));
    }
    Ok(out)
}

impl Run<'_> {
    /// Reads the cluster role bindings before the first service account is handled.
    ///
    /// They come from the list that the backup reads of them anyway, read ahead. Where it reads none, or one that its
    /// label selectors narrow, or they are more than may be held, they are listed once for this.
    pub(crate) async fn know_bindings(&mut self, items: &[Member]) -> Result<(), Error> {
        let is_account = |item: &Member| {
            item.resource.group.is_empty() && item.resource.plural == "serviceaccounts"
        };
        let known = Arc::clone(self.actions.bindings());
        if known.are_read() || !items.iter().any(is_account) {
            return Ok(());
        }
        let gr = resource();
        let own = self.kind_of.get(&gr).copied();
        if let Some(at) = own.filter(|at| *at > self.current && !self.has_selectors())
            && self.read_whole(at).await?
        {
            let held = self.sources[at].held.iter().flatten().cloned().collect();
            let mut bindings = Bindings::default();
            self.add_bindings(&mut bindings, held);
            known.put(Ok(bindings));
            return Ok(());
        }
        known.put(match self.request.catalog().get(&gr).cloned() {
            Some(resource) => self.list_bindings(&resource).await,
            None => Ok(Bindings::default()),
        });
        Ok(())
    }

    /// Lists the bindings, whatever the filters of the backup say. Only what is to be known of them is kept.
    async fn list_bindings(&mut self, resource: &ApiResource) -> Result<Bindings, ActionError> {
        let options = self.options.list.clone();
        let mut pages = self.cluster.pages(resource, ListScope::all(), options);
        let mut out = Bindings::default();
        loop {
            match pages.next().await {
                Ok(Some(page)) => {
                    if page.restarted {
                        out = Bindings::default();
                    }
                    for element in &page.bad {
                        let record = bad_element(&resource.group_resource(), element);
                        self.out.record(record);
                    }
                    self.add_bindings(&mut out, page.items);
                }
                Ok(None) => return Ok(out),
                Err(error) => {
                    let message = "the cluster cannot be read";
                    return Err(ActionError::with_source(message, error));
                }
            }
        }
    }

    fn add_bindings(&mut self, bindings: &mut Bindings, items: Vec<RawItem>) {
        for item in items {
            match item.tree() {
                Ok(tree) => bindings.add(&tree),
                Err(error) => {
                    let message = format!(
                        "it cannot be read, so no service account brings it into the backup: {}",
                        chain(&error)
                    );
                    let name = item.head().name.as_str();
                    self.out
                        .record(Record::item(Severity::Error, resource(), "", name, message));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bindings_by_service_account() {
        let binding = |name: &str, subjects: serde_json::Value, role: &str| {
            ItemTree::new(json!({"metadata": {"name": name}, "subjects": subjects, "roleRef": {"kind": "ClusterRole", "name": role}})).unwrap()
        };
        let account =
            |ns: &str, name: &str| json!({"kind": "ServiceAccount", "namespace": ns, "name": name});
        let mut all = Bindings::default();
        for one in [
            binding(
                "b1",
                json!([account("a", "x"), account("a", "x"), {"kind": "User", "name": "x"}]),
                "view",
            ),
            binding("b2", json!([account("a", "x"), account("b", "x")]), "edit"),
            binding("b3", serde_json::Value::Null, "edit"),
        ] {
            all.add(&one);
        }
        let of = |ns: &str| {
            let account = json!({"metadata": {"namespace": ns, "name": "x"}});
            all.of(&ItemTree::new(account).unwrap()).to_vec()
        };
        assert_eq!(
            of("a"),
            [
                ("b1".to_owned(), Some("view".to_owned())),
                ("b2".to_owned(), Some("edit".to_owned()))
            ]
        );
        assert_eq!((of("b").len(), of("c").len(), all.0.len()), (1, 0, 2));
    }
}
