//! Lists read before their turn, because items of earlier kinds refer to them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use velero_cluster::{ListScope, Pages};
use velero_core::{ItemHead, RawItem, ResourceIdentifier};

use crate::Error;
use crate::run::Run;

/// Objects of a kind without a list of its own that are read one by one, before the list is read after all.
const FEW: usize = 16;

/// A list without the filters of the backup, of a kind that many of its items ask for: the volumes of a backup of some
/// namespaces, the claims of pods that are chosen by their labels.
#[derive(Default)]
pub(crate) struct Side {
    asked: usize,
    pages: Option<Pages>,
    ended: bool,
    held: BTreeMap<(String, String), RawItem>,
}

impl Side {
    /// Lets go of what lies in earlier namespaces, as items ask namespace by namespace in the order of lists; gives its size.
    fn forget_before(&mut self, namespace: &str) -> usize {
        let rest = self.held.split_off(&(namespace.to_owned(), String::new()));
        let passed = std::mem::replace(&mut self.held, rest);
        passed.values().map(|item| item.json().len()).sum()
    }

    /// Keeps items; gives by how much that is more than before.
    fn hold(&mut self, items: impl Iterator<Item = RawItem>) -> usize {
        let mut more = 0;
        for item in items {
            let key = (item.head().namespace.clone(), item.head().name.clone());
            // A list that began again brings what is held already.
            if let Entry::Vacant(free) = self.held.entry(key) {
                more += item.json().len();
                free.insert(item);
            }
        }
        more
    }
}

impl Run<'_> {
    /// Looks for an item that another asks for in the list of its kind, which is read ahead as far as the bound on held
    /// bytes allows.
    pub(crate) async fn held(&mut self, id: &ResourceIdentifier) -> Result<Option<RawItem>, Error> {
        match self.kind_of.get(&id.group_resource) {
            Some(&at) if at > self.current => {
                let listed = self.read_to(at, &id.namespace, &id.name).await?;
                if listed.is_none() && self.has_selectors() {
                    return Ok(self.aside(id).await);
                }
                Ok(listed)
            }
            Some(_) => Ok(None),
            None => Ok(self.aside(id).await),
        }
    }

    /// Looks for an item that the lists of the backup do not hold in a list of its kind without filters. The first few are
    /// left to be read one by one: in a big cluster that is cheaper for a small backup.
    async fn aside(&mut self, id: &ResourceIdentifier) -> Option<RawItem> {
        let resource = self.request.catalog().get(&id.group_resource)?.clone();
        if !resource.verbs.has("list") {
            return None;
        }
        let scope = match self.kind_of.get(&id.group_resource) {
            Some(at) => match self.kinds[*at].names.as_deref() {
                Some([one]) => ListScope::namespace(one),
                _ => ListScope::all(),
            },
            None if resource.namespaced => return None,
            None => ListScope::all(),
        };
        let mut side = self.aside.remove(&id.group_resource).unwrap_or_default();
        side.asked += 1;
        self.held_bytes -= side.forget_before(&id.namespace);
        let key = (id.namespace.clone(), id.name.clone());
        let mut found = None;
        while side.asked > FEW {
            found = side.held.remove(&key);
            if found.is_some() || side.ended || self.held_bytes >= self.options.held_bytes {
                break;
            }
            let pages = side.pages.get_or_insert_with(|| {
                let options = self.options.list.clone();
                self.cluster.pages(&resource, scope.clone(), options)
            });
            match pages.next().await {
                Ok(Some(page)) => {
                    let wanted = page.items.into_iter().filter(|item| {
                        let head = item.head();
                        head.namespace >= id.namespace && !self.is_taken(&resource, head)
                    });
                    self.held_bytes += side.hold(wanted);
                }
                Ok(None) => side.ended = true,
                Err(error) => {
                    // What is not found here is read by its name, and what goes wrong then is told.
                    tracing::debug!(resource = %id.group_resource, %error, "the list cannot be read; its objects are read one by one");
                    side.ended = true;
                }
            }
        }
        if let Some(item) = &found {
            self.held_bytes -= item.json().len();
        }
        self.aside.insert(id.group_resource.clone(), side);
        found
    }

    /// Keeps items of a kind until its turn comes.
    fn hold(&mut self, at: usize, items: Vec<RawItem>) {
        let source = &mut self.sources[at];
        for item in items {
            self.held_bytes += item.json().len();
            let head = item.head();
            source.index.insert(
                (head.namespace.clone(), head.name.clone()),
                source.held.len(),
            );
            source.held.push(Some(item));
        }
    }

    /// Reads a kind's list ahead until an object turns up, the list ends or enough is held.
    pub(crate) async fn read_to(
        &mut self,
        at: usize,
        namespace: &str,
        name: &str,
    ) -> Result<Option<RawItem>, Error> {
        let key = (namespace.to_owned(), name.to_owned());
        loop {
            let source = &self.sources[at];
            if let Some(place) = source.index.get(&key) {
                return Ok(source.held[*place].clone());
            }
            if self.held_bytes >= self.options.held_bytes {
                return Ok(None);
            }
            let Some(items) = self.next_items(at).await? else {
                return Ok(None);
            };
            self.hold(at, items);
        }
    }

    /// Reads a kind's list ahead to the end of a namespace, as far as the bound on what is held allows. Lists come in the
    /// order of namespaces.
    pub(crate) async fn read_namespace(&mut self, at: usize, namespace: &str) -> Result<(), Error> {
        loop {
            // Lists are in the order of `namespace/name`, in which `a-b/` comes before `a/`.
            let last = &self.sources[at].last_namespace;
            if format!("{last}/") > format!("{namespace}/")
                || self.held_bytes >= self.options.held_bytes
            {
                return Ok(());
            }
            let Some(items) = self.next_items(at).await? else {
                return Ok(());
            };
            self.hold(at, items);
        }
    }

    /// Reads a kind's list ahead to its end; `false` when it holds more than may be kept.
    pub(crate) async fn read_whole(&mut self, at: usize) -> Result<bool, Error> {
        while self.held_bytes < self.options.held_bytes {
            let Some(items) = self.next_items(at).await? else {
                return Ok(true);
            };
            self.hold(at, items);
        }
        Ok(false)
    }

    /// Lets go of an item that is held and has been stored before its turn.
    pub(crate) fn release(&mut self, at: usize, head: &ItemHead) {
        let source = &mut self.sources[at];
        if source.index.is_empty() {
            return;
        }
        let key = (head.namespace.clone(), head.name.clone());
        let Some(place) = source.index.get(&key) else {
            return;
        };
        if let Some(item) = source.held[*place].take() {
            self.held_bytes -= item.json().len();
        }
    }

    /// Takes what is held of a kind whose turn has come.
    pub(crate) fn take_held(&mut self, at: usize) -> Vec<RawItem> {
        let source = &mut self.sources[at];
        source.index.clear();
        let held: Vec<RawItem> = std::mem::take(&mut source.held)
            .into_iter()
            .flatten()
            .collect();
        self.held_bytes -= held.iter().map(|item| item.json().len()).sum::<usize>();
        held
    }
}
