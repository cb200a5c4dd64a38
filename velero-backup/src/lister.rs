//! Reading lists ahead of their turn.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tracing::Instrument as _;
use velero_cluster::{BadElement, Cluster, Error, ErrorKind, ListOptions, ListScope, Pages};
use velero_core::{ItemHead, RawItem};

use crate::BackupRequest;
use crate::coverage::{Reading, Rule, Tally};
use crate::guard::AbortOnDrop;
use crate::plan::Kind;

/// Pages of one kind that wait to be used, the one that is being read among them.
const PAGES_AHEAD: usize = 1;

/// Objects of a page that is made of what is known.
const KNOWN_PAGE: usize = 500;

/// What a list brings.
#[derive(Debug)]
pub(crate) enum Event {
    /// Objects that the request takes, and elements that were no objects.
    Page(Vec<RawItem>, Vec<BadElement>),
    /// A part of the list could not be read; what was read before stays good.
    Failed {
        /// The namespace, where one was listed.
        namespace: Option<String>,
        error: Error,
    },
    /// The end: how the list was read, and what it held besides. Nothing follows.
    Ended(Tally),
}

/// Namespaces with an object that the filters choose, as the lists of a run find them.
#[derive(Debug, Default)]
pub(crate) struct Content(Mutex<HashSet<String>>);

impl Content {
    fn add(&self, namespace: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(namespace) {
            known.insert(namespace.to_owned());
        }
    }

    pub(crate) fn has(&self, namespace: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(namespace)
    }
}

/// One kind being listed in a task of its own. Dropping it ends the task.
pub(crate) struct Listing {
    events: mpsc::Receiver<Event>,
    _task: AbortOnDrop,
}

impl Listing {
    /// Begins to list a kind. `content` is told the namespaces of the objects that the filters choose.
    pub(crate) fn start(
        cluster: &Cluster,
        request: &Arc<BackupRequest>,
        kind: &Arc<Kind>,
        options: &ListOptions,
        content: Option<Arc<Content>>,
    ) -> Self {
        let (sender, events) = mpsc::channel(PAGES_AHEAD);
        let lister = Lister {
            cluster: cluster.clone(),
            request: Arc::clone(request),
            kind: Arc::clone(kind),
            options: options.clone(),
            content,
            last_content: String::new(),
            tally: Tally::default(),
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
    content: Option<Arc<Content>>,
    /// The namespace that `content` was told last.
    last_content: String,
    tally: Tally,
    sender: mpsc::Sender<Event>,
}

/// The run wants no more of this list.
struct Unwanted;

/// How one list ended.
enum End {
    Read,
    /// There is much more in other namespaces than in those that are wanted. Nothing was taken from the list.
    Wasteful,
    Failed(Error),
}

impl Lister {
    async fn run(mut self) {
        // A run that wants no more has ended; there is nobody to tell.
        let _ = self.all().await;
    }

    /// Reads the kind: one namespace by itself; several with one list of everything, unless that is forbidden or
    /// brings far too much.
    async fn all(&mut self) -> Result<(), Unwanted> {
        let kind = Arc::clone(&self.kind);
        if kind.is_namespaces()
            && let Some(objects) = self.request.recent_objects()
        {
            return self.known(&objects).await;
        }
        let names = kind.names.as_deref();
        match names {
            Some([_]) => self.tally.reading = Reading::ByNamespace,
            None | Some(_) => match (self.list(None).await?, names) {
                (End::Wasteful, Some(_)) => self.tally = with(Reading::ByNamespace),
                (End::Failed(error), Some(_)) if error.kind() == ErrorKind::Forbidden => {
                    self.tally = with(Reading::Refused);
                }
                (End::Failed(error), None)
                    if error.kind() == ErrorKind::Forbidden && self.namespaces().await? =>
                {
                    return self.ended().await;
                }
                (End::Failed(error), _) => {
                    self.failed(None, error).await?;
                    return self.ended().await;
                }
                _ => return self.ended().await,
            },
        }
        for name in names.unwrap_or_default() {
            match self.list(Some(name.clone())).await? {
                // The whole kind is gone: the other namespaces have nothing else to say.
                End::Failed(error) if error.kind() == ErrorKind::Unserved => {
                    self.failed(None, error).await?;
                    break;
                }
                End::Failed(error) => self.failed(Some(name.clone()), error).await?,
                End::Read | End::Wasteful => {}
            }
        }
        self.ended().await
    }

    /// Gives the Namespace objects that were read to resolve the request, instead of a second list of them.
    async fn known(&mut self, objects: &[RawItem]) -> Result<(), Unwanted> {
        for page in objects.chunks(KNOWN_PAGE) {
            self.send(Event::Page(page.to_vec(), Vec::new())).await?;
        }
        self.ended().await
    }

    /// Reads the included Namespace objects one by one, for credentials that do not allow to list them; `false` when this
    /// is another kind, or the namespaces are not named.
    async fn namespaces(&mut self) -> Result<bool, Unwanted> {
        let request = Arc::clone(&self.request);
        let Some(names) = request.namespaces().names() else {
            return Ok(false);
        };
        if !self.kind.is_namespaces() {
            return Ok(false);
        }
        self.tally = with(Reading::Refused);
        for name in names {
            match self.cluster.get(&self.kind.resource, "", name).await {
                Ok(item) => {
                    let items = item.into_iter().collect();
                    self.send(Event::Page(items, Vec::new())).await?;
                }
                Err(error) => self.failed(Some(name.clone()), error).await?,
            }
        }
        Ok(true)
    }

    async fn ended(&mut self) -> Result<(), Unwanted> {
        let tally = std::mem::take(&mut self.tally);
        self.send(Event::Ended(tally)).await
    }

    async fn failed(&self, namespace: Option<String>, error: Error) -> Result<(), Unwanted> {
        self.send(Event::Failed { namespace, error }).await
    }

    async fn send(&self, event: Event) -> Result<(), Unwanted> {
        self.sender.send(event).await.map_err(|_| Unwanted)
    }

    async fn list(&mut self, namespace: Option<String>) -> Result<End, Unwanted> {
        let everywhere = namespace.is_none();
        let scope = ListScope {
            namespace,
            selector: self.kind.selector.clone(),
            field_selector: None,
        };
        let options = self.options.clone();
        let mut pages = self.cluster.pages(&self.kind.resource, scope, options);
        let before = self.tally.clone();
        let mut first = true;
        loop {
            // A page is asked for only when there is room for it.
            let sender = self.sender.clone();
            let room = sender.reserve().await.map_err(|_| Unwanted)?;
            let (items, bad) = loop {
                let page = match pages.next().await {
                    Ok(Some(page)) => page,
                    Ok(None) => return Ok(End::Read),
                    Err(error) => return Ok(End::Failed(error)),
                };
                if page.restarted {
                    self.tally = before.clone();
                }
                if std::mem::take(&mut first)
                    && everywhere
                    && self.is_wasteful(page.remaining, &pages)
                {
                    return Ok(End::Wasteful);
                }
                let mut items = page.items;
                items.retain(|item| self.takes(item.head()));
                if !items.is_empty() || !page.bad.is_empty() {
                    break (items, page.bad);
                }
            };
            room.send(Event::Page(items, bad));
        }
    }

    fn is_wasteful(&self, remaining: Option<u64>, pages: &Pages) -> bool {
        let Some(names) = &self.kind.names else {
            return false;
        };
        let page = u64::from(pages.page_size().min(self.options.page_size));
        by_namespace_is_cheaper(
            names.len(),
            self.request.live_namespaces(),
            remaining.unwrap_or_default(),
            page,
        )
    }

    /// Whether an object is taken; counts it where it is not.
    fn takes(&mut self, head: &ItemHead) -> bool {
        if self.kind.is_namespaces() {
            return true;
        }
        let rule = self.request.why_not(head);
        if !matches!(rule, Some(Rule::Namespace | Rule::LabelSelector)) {
            self.is_content(&head.namespace);
        }
        if let Some(rule) = rule {
            *self.tally.left_out.of(rule) += 1;
        }
        rule.is_none()
    }

    fn is_content(&mut self, namespace: &str) {
        if let Some(content) = &self.content
            && !namespace.is_empty()
            && self.last_content != namespace
        {
            content.add(namespace);
            namespace.clone_into(&mut self.last_content);
        }
    }
}

fn with(reading: Reading) -> Tally {
    Tally {
        reading,
        ..Tally::default()
    }
}

/// Whether some namespaces of a cluster are better listed one by one, once the first page of the list of everything has
/// said how much would follow.
///
/// The list of everything costs a call for each further page. The lists of the namespaces cost one each and a call for
/// each further page of theirs, and the first page was read for nothing. They are cheaper when there are few of them: at
/// most half as many as pages would follow, and at most a quarter of the cluster's namespaces, so that their objects can
/// be expected to be a small part of all. A cluster whose objects fit into one page is never asked twice. With a label
/// selector an API server does not say how much follows, and the list of everything, which then brings only what
/// matches, goes on.
///
/// Where the few namespaces hold nearly everything after all, their lists take at most half as many calls again as the
/// list of everything would have: the same pages, and one page for each namespace that is not full.
pub(crate) fn by_namespace_is_cheaper(
    wanted: usize,
    live: usize,
    remaining: u64,
    page: u64,
) -> bool {
    let (wanted, live) = (wanted as u64, live as u64);
    page > 0 && wanted * 2 <= remaining.div_ceil(page) && wanted * 4 <= live
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_namespaces_of_many_are_listed_one_by_one() {
        for (wanted, live, remaining, page, expected) in [
            // It all fits into the first page, or nothing is known about what follows.
            (2, 1000, 0, 500, false),
            (2, 1000, 1, 500, false),
            // Four calls would follow, against two.
            (2, 1000, 1501, 500, true),
            (2, 1000, 1500, 500, false),
            (2, 8, 100_000, 500, true),
            (2, 7, 100_000, 500, false),
            (45, 500, 100_000, 500, true),
            (45, 500, 44_000, 500, false),
            (45, 179, 100_000, 500, false),
            (500, 500, 1_000_000, 500, false),
            // Everything in one answer.
            (2, 1000, 100_000, 0, false),
        ] {
            assert_eq!(
                by_namespace_is_cheaper(wanted, live, remaining, page),
                expected,
                "{wanted} of {live}, {remaining} to come, {page} a page"
            );
        }
    }
}
