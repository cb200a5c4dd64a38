//! Lists read before their turn, because items of earlier kinds refer to them.

use velero_core::{ItemHead, RawItem};

use crate::Error;
use crate::run::Run;

impl Run<'_> {
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
            let last = self.sources[at].last_namespace.as_str();
            if last > namespace || self.held_bytes >= self.options.held_bytes {
                return Ok(());
            }
            let Some(items) = self.next_items(at).await? else {
                return Ok(());
            };
            self.hold(at, items);
        }
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
