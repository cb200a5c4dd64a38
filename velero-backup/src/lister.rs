//! Reading lists ahead of their turn.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::Instrument as _;
use velero_cluster::{BadElement, Cluster, Error, ErrorKind, ListOptions, ListScope};
use velero_core::RawItem;

use crate::BackupRequest;
use crate::invoke::AbortOnDrop;
use crate::plan::Kind;

/// Pages of one kind that wait to be used.
const PAGES_AHEAD: usize = 2;

/// What a list brings.
pub(crate) enum Event {
    /// Objects that the request takes, and elements that were no objects.
    Page(Vec<RawItem>, Vec<BadElement>),
    /// A part of the list could not be read; what was read before stays good.
    Failed {
        /// The namespace, where one was listed.
        namespace: Option<String>,
        error: Error,
    },
}

/// One kind being listed in a task of its own. Dropping it ends the task.
pub(crate) struct Listing {
    events: mpsc::Receiver<Event>,
    _task: AbortOnDrop,
}

impl Listing {
    pub(crate) fn start(
        cluster: &Cluster,
        request: &Arc<BackupRequest>,
        kind: &Arc<Kind>,
        options: &ListOptions,
    ) -> Self {
        let (sender, events) = mpsc::channel(PAGES_AHEAD);
        let lister = Lister {
            cluster: cluster.clone(),
            request: Arc::clone(request),
            kind: Arc::clone(kind),
            options: options.clone(),
            sender,
        };
        let task = tokio::spawn(lister.run().in_current_span());
        Self {
            events,
            _task: AbortOnDrop(task.abort_handle()),
        }
    }

    /// The next event; `None` at the end of the list.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

struct Lister {
    cluster: Cluster,
    request: Arc<BackupRequest>,
    kind: Arc<Kind>,
    options: ListOptions,
    sender: mpsc::Sender<Event>,
}

/// The run wants no more of this list.
struct Unwanted;

impl Lister {
    async fn run(self) {
        let mut scopes = self.kind.scopes.clone();
        let mut may_split = !self.kind.fallback.is_empty();
        while !scopes.is_empty() {
            let namespace = scopes.remove(0);
            match self.list(namespace.clone()).await {
                Ok(None) => {}
                Ok(Some(error)) if may_split && error.kind() == ErrorKind::Forbidden => {
                    // Credentials for some namespaces only: their lists are allowed one by one.
                    may_split = false;
                    scopes.extend(self.kind.fallback.iter().cloned().map(Some));
                }
                Ok(Some(error)) => {
                    if self
                        .sender
                        .send(Event::Failed { namespace, error })
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                Err(Unwanted) => return,
            }
        }
    }

    async fn list(&self, namespace: Option<String>) -> Result<Option<Error>, Unwanted> {
        let scope = ListScope {
            namespace,
            selector: self.kind.selector.clone(),
            field_selector: None,
        };
        let mut pages = self
            .cluster
            .pages(&self.kind.resource, scope, self.options.clone());
        loop {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(error)),
            };
            let mut items = page.items;
            if !self.kind.is_namespaces() {
                items.retain(|item| self.request.takes(item.head()));
            }
            if items.is_empty() && page.bad.is_empty() {
                continue;
            }
            self.sender
                .send(Event::Page(items, page.bad))
                .await
                .map_err(|_| Unwanted)?;
        }
    }
}
