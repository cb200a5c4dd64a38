//! One run: kinds in plan order, items through filters and actions, into the archive.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use velero_cluster::{BadElement, Cluster};
use velero_core::archive::ItemPath;
use velero_core::result::{Record, Severity};
use velero_core::{ApiResource, GroupResource, ItemHead, Progress, RawItem, ResourceIdentifier};

use crate::beyond::Beyond;
use crate::blocks::{Forming, Member};
use crate::coverage::Tracker;
use crate::held::Side;
use crate::hooks::Hooks;
use crate::invoke::Actions;
use crate::lister::{Content, Event, Listing};
use crate::ordered::Ordered;
use crate::output::Output;
use crate::plan::{self, Kind};
use crate::prepared::Prepared;
use crate::reach::{Reach, bad_element};
use crate::seen::Seen;
use crate::volume::{Volumes, concerns};
use crate::writer::{Entry, Writer};
use crate::{BackupOptions, BackupRequest, BackupRun, Error, unmatched};

/// Items whose actions and additional items are worked on together.
pub(crate) const CHUNK: usize = 64;

/// Where the items of one kind come from.
#[derive(Default)]
pub(crate) struct Source {
    listing: Option<Listing>,
    pub(crate) ended: bool,
    /// Items read before their turn, because others refer to them; `None` where one has been stored since.
    pub(crate) held: Vec<Option<RawItem>>,
    pub(crate) index: HashMap<(String, String), usize>,
    /// Namespace of the last item that was read.
    pub(crate) last_namespace: String,
}

pub(crate) struct Run<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) request: Arc<BackupRequest>,
    pub(crate) actions: Actions,
    pub(crate) options: &'a BackupOptions,
    writer: &'a Writer,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) kinds: Vec<Arc<Kind>>,
    pub(crate) sources: Vec<Source>,
    pub(crate) kind_of: HashMap<GroupResource, usize>,
    pub(crate) current: usize,
    pub(crate) held_bytes: usize,
    pub(crate) seen: Seen,
    /// The hooks of pods under way.
    pub(crate) hooks: Hooks,
    /// Pods that wait for the end of their namespace.
    pub(crate) forming: Forming,
    /// The running pods of the cluster, as far as blocks that reach beyond label selectors have asked for them.
    pub(crate) beyond: Beyond,
    pub(crate) ordered: Ordered,
    /// Lists of kinds that are not collected.
    pub(crate) aside: HashMap<GroupResource, Side>,
    /// All claims of volume groups, where the backup's own list does not hold them all.
    pub(crate) grouped: Option<Vec<RawItem>>,
    /// Items whose actions have run, until they are stored.
    pub(crate) ready: HashMap<ResourceIdentifier, Prepared>,
    /// Items that went wrong, each with the root causes: itself, or what it needs.
    pub(crate) broken: HashMap<ResourceIdentifier, BTreeSet<String>>,
    /// Additional items that need not be looked for again: missing, refused or not to be stored.
    pub(crate) settled: HashSet<ResourceIdentifier>,
    /// Namespaces with a selected object, where that decides about their Namespace objects.
    content: Arc<Content>,
    reach: Reach,
    /// Whether items are stored once more, after their operations.
    pub(crate) finalizing: bool,
    pub(crate) volumes: Volumes,
    pub(crate) out: Output,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        cluster: &'a Cluster,
        request: &BackupRequest,
        actions: Actions,
        options: &'a BackupOptions,
        run: &BackupRun,
        writer: &'a Writer,
    ) -> Self {
        let plan = plan::plan(request, options.all_api_versions);
        let out = Output {
            coverage: Tracker::new(&plan),
            ..Output::default()
        };
        let kinds: Vec<Arc<Kind>> = plan.kinds.into_iter().map(Arc::new).collect();
        Self {
            cluster,
            request: Arc::new(request.clone()),
            actions,
            options,
            writer,
            progress: Arc::clone(&run.progress),
            sources: kinds.iter().map(|_| Source::default()).collect(),
            kind_of: kinds
                .iter()
                .enumerate()
                .filter(|(_, kind)| kind.resource.preferred)
                .map(|(at, kind)| (kind.gr.clone(), at))
                .collect(),
            kinds,
            current: 0,
            held_bytes: 0,
            seen: Seen::default(),
            hooks: Hooks::new(cluster.clone()),
            forming: Forming::default(),
            beyond: Beyond::default(),
            ordered: Ordered::read(request.backup()),
            aside: HashMap::new(),
            grouped: None,
            ready: HashMap::new(),
            broken: HashMap::new(),
            settled: HashSet::new(),
            content: Arc::default(),
            reach: Reach::default(),
            finalizing: false,
            volumes: Volumes::default(),
            out,
        }
    }

    pub(crate) fn into_output(self) -> Output {
        let mut out = self.out;
        out.resource_list = self.seen.into_stored();
        out.hooks = self.hooks.counts();
        out.volumes = self.volumes.finish();
        for record in std::mem::take(&mut out.volumes.records) {
            out.record(record);
        }
        out
    }

    /// Ends a run that does not come to its end: pods whose pre hooks have run get their post hooks.
    pub(crate) async fn finish_hooks(&mut self) {
        for record in self.hooks.finish().await {
            self.out.record(record);
        }
    }

    /// Does the whole run, up to the end of the archive's items.
    pub(crate) async fn drive(&mut self) -> Result<(), Error> {
        for record in self.request.records().to_vec() {
            self.out.record(record);
        }
        for at in 0..self.kinds.len() {
            self.current = at;
            for ahead in at..self.kinds.len().min(at + 1 + self.options.kinds_ahead) {
                self.start(ahead);
            }
            self.ordered(at).await?;
            let held = self.take_held(at);
            self.items(at, held).await?;
            while let Some(items) = self.next_items(at).await? {
                self.items(at, items).await?;
            }
            self.close_namespace().await?;
        }
        self.tell_of_unordered();
        if let Some(record) = unmatched::everything(&self.request, &self.out.coverage.totals()) {
            self.out.record(record);
        }
        self.definitions().await?;
        self.wait_for_copies(0).await;
        Ok(())
    }

    fn start(&mut self, at: usize) {
        let source = &mut self.sources[at];
        if source.listing.is_none() && !source.ended {
            source.listing = Some(Listing::start(
                self.cluster,
                &self.request,
                &self.kinds[at],
                &self.options.list,
                self.request
                    .namespaces_come_last()
                    .then(|| Arc::clone(&self.content)),
            ));
        }
    }

    /// The next items of a kind's list, started if it has not been; `None` at its end.
    pub(crate) async fn next_items(&mut self, at: usize) -> Result<Option<Vec<RawItem>>, Error> {
        self.start(at);
        loop {
            let source = &mut self.sources[at];
            let Some(listing) = source.listing.as_mut() else {
                return Ok(None);
            };
            match listing.next().await {
                None => {
                    source.listing = None;
                    source.ended = true;
                    return Ok(None);
                }
                Some(Event::Page(items, bad)) => {
                    if let Some(last) = items.last() {
                        source.last_namespace.clone_from(&last.head().namespace);
                    }
                    self.reach.answered();
                    self.bad_elements(at, &bad);
                    return Ok(Some(items));
                }
                Some(Event::Failed { namespace, error }) => {
                    self.out.coverage.incomplete(at);
                    let what = "not all objects of this kind are in the backup";
                    let gr = &self.kinds[at].gr;
                    let record = self.reach.failed(gr, namespace, what, error)?;
                    self.out.record(record);
                }
                Some(Event::Ended(tally)) => self.out.coverage.ended(at, tally),
            }
        }
    }

    fn bad_elements(&mut self, at: usize, bad: &[BadElement]) {
        self.out.coverage.bad(at, bad.len());
        for element in bad {
            let record = bad_element(&self.kinds[at].gr, element);
            self.out.record(record);
        }
    }

    /// Takes items of one kind, in order.
    async fn items(&mut self, at: usize, items: Vec<RawItem>) -> Result<(), Error> {
        let kind = Arc::clone(&self.kinds[at]);
        let fresh: Vec<RawItem> = items
            .into_iter()
            .filter(|item| self.is_wanted(at, &kind, item))
            .collect();
        self.count_taken(at, fresh.len());
        let resource = Arc::new(kind.resource.clone());
        if self.waits(&kind.gr) {
            self.in_namespaces(&resource, fresh).await?;
        } else if self.actions.want(&kind.gr) || self.actions.relate_kind(&kind.gr) {
            let mut fresh = fresh.into_iter();
            loop {
                let chunk: Vec<RawItem> = fresh.by_ref().take(CHUNK).collect();
                if chunk.is_empty() {
                    break;
                }
                let members = self.members(&resource, chunk);
                if self.actions.relate_kind(&kind.gr) {
                    self.blocks(members).await?;
                } else {
                    self.work_and_lay(members).await?;
                }
            }
        } else {
            self.plain(&resource, fresh).await?;
        }
        self.progress.update(self.out.counts);
        Ok(())
    }

    fn is_wanted(&mut self, at: usize, kind: &Kind, item: &RawItem) -> bool {
        let head = item.head();
        if self
            .seen
            .contains(&head.api_version, &head.kind, &head.namespace, &head.name)
        {
            return false;
        }
        if kind.is_namespaces() {
            let has_content = self.content.has(&head.name);
            let rule = self.request.why_not_namespace(head, has_content);
            if let Some(rule) = rule {
                self.out.coverage.left_out(at, rule);
            }
            return rule.is_none();
        }
        true
    }

    pub(crate) fn members(&self, resource: &Arc<ApiResource>, items: Vec<RawItem>) -> Vec<Member> {
        let member = |item| self.member(Arc::clone(resource), item);
        items.into_iter().map(member).collect()
    }

    pub(crate) fn member(&self, resource: Arc<ApiResource>, item: RawItem) -> Member {
        Member::new(resource, item, self.request.hooks())
    }

    /// Stores items that no action looks at.
    pub(crate) async fn plain(
        &mut self,
        resource: &Arc<ApiResource>,
        items: Vec<RawItem>,
    ) -> Result<(), Error> {
        let mut volumes = Vec::new();
        for item in items {
            if !self.take_note(item.head()) {
                self.uncount_one(resource);
                continue;
            }
            let item = Prepared::from(self.member(Arc::clone(resource), item));
            if concerns(resource) {
                volumes.push(item);
            } else {
                self.store(item).await?;
            }
        }
        self.protect(&volumes).await;
        for item in volumes {
            self.store(item).await?;
        }
        Ok(())
    }

    /// Runs the actions of several items at the same time; the order stays.
    ///
    /// Mutable, as a run cannot be shared between threads while it waits.
    pub(crate) async fn prepare_all(&mut self, items: Vec<Member>) -> Vec<Prepared> {
        let bars = self.bars(&items).await;
        let (actions, finalizing) = (&self.actions, self.finalizing);
        let prepare = |(member, bars)| async move {
            let mut prepared = actions.prepare(member, bars).await;
            prepared.must_include |= finalizing;
            prepared
        };
        stream::iter(items.into_iter().zip(bars).map(prepare))
            .buffered(self.options.concurrency.max(1))
            .collect()
            .await
    }

    /// Lays an item behind the additional items that it asks for and that are not stored yet.
    pub(crate) fn in_order(&mut self, item: Prepared, order: &mut Vec<Prepared>) {
        if !self.take_note(item.original.head()) {
            self.dropped(item);
            return;
        }
        if item.resource.preferred
            && let Some(at) = self.kind_of.get(&item.resource.group_resource())
        {
            self.release(*at, item.original.head());
        }
        if !item.skip {
            for id in &item.additional {
                if let Some(needed) = self.ready.remove(id) {
                    self.in_order(needed, order);
                }
            }
        }
        let item = self.tell_of_missing(item);
        order.push(item);
    }

    /// Lets go of an item that is not stored here after all. What its actions have done is told.
    pub(crate) fn dropped(&mut self, item: Prepared) {
        self.note_operations(&item);
        for record in item.records {
            self.out.record(record);
        }
        self.uncount_one(&item.resource);
    }

    /// Notes that an item is dealt with; `false` if it was before.
    pub(crate) fn take_note(&mut self, head: &ItemHead) -> bool {
        self.seen
            .insert(&head.api_version, &head.kind, &head.namespace, &head.name)
    }

    /// Whether an item is dealt with.
    pub(crate) fn is_taken(&self, resource: &ApiResource, head: &ItemHead) -> bool {
        self.seen.contains(
            &resource.api_version(),
            &resource.kind,
            &head.namespace,
            &head.name,
        )
    }

    /// Writes an item into the archive.
    pub(crate) async fn store(&mut self, item: Prepared) -> Result<(), Error> {
        self.note_operations(&item);
        for record in item.records {
            self.out.record(record);
        }
        let head = item.original.head();
        if item.skip {
            tracing::info!(
                kind = head.kind,
                namespace = head.namespace,
                name = head.name,
                "an action leaves the item out of the backup"
            );
            self.out.counts.total -= 1;
            self.out.coverage.skipped(&item.resource);
            return Ok(());
        }
        let gr = item.resource.group_resource();
        let mut stored = &item.stored;
        if !is_path_part(&stored.head().name)
            || !(stored.head().namespace.is_empty() || is_path_part(&stored.head().namespace))
        {
            let message = format!(
                "an action named the item {:?}, which no file can be called; it is stored as it was",
                stored.head().key().path()
            );
            self.out.record(Record::item(
                Severity::Error,
                &gr,
                head.namespace.as_str(),
                head.name.as_str(),
                message,
            ));
            stored = &item.original;
        }
        let entry = Entry {
            path: ItemPath::new(
                gr.clone(),
                stored.head().namespace.as_str(),
                stored.head().name.as_str(),
            ),
            version: head.version().to_owned(),
            preferred: item.resource.preferred,
            json: stored.json().clone(),
        };
        self.writer.push(entry).await.map_err(|_| Error::Sink {
            source: std::io::Error::other("the archive's writer has ended"),
        })?;
        self.seen
            .store(&head.api_version, &head.kind, &head.namespace, &head.name);
        if !self.out.stored_resources.contains(&gr) {
            self.out.stored_resources.insert(gr);
        }
        self.out.counts.done += 1;
        self.out.coverage.stored(&item.resource);
        Ok(())
    }

    /// Counts items that a list has brought and that are taken.
    pub(crate) fn count_taken(&mut self, at: usize, count: usize) {
        self.out.counts.total += count as u64;
        self.out.coverage.taken(at, count);
    }

    /// Whether a Namespace object is stored, by what is known so far.
    pub(crate) fn takes_namespace(&self, head: &ItemHead) -> bool {
        let has_content = self.content.has(&head.name);
        self.request.why_not_namespace(head, has_content).is_none()
    }

    /// Counts an item that was found on the side.
    pub(crate) fn count_one(&mut self, resource: &ApiResource, head: &ItemHead) {
        self.out.counts.total += 1;
        let rule = self.request.why_not(head);
        self.out.coverage.related(resource, rule);
    }

    /// Takes back an item that was counted twice, or is not to be stored.
    pub(crate) fn uncount_one(&mut self, resource: &ApiResource) {
        self.out.counts.total -= 1;
        self.out.coverage.repeated(resource);
    }
}

fn is_path_part(text: &str) -> bool {
    !text.is_empty() && text != "." && text != ".." && !text.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_files_can_have() {
        for (name, good) in [
            ("web", true),
            ("system:node", true),
            ("", false),
            ("..", false),
            ("a/b", false),
            ("a\\b", false),
        ] {
            assert_eq!(is_path_part(name), good, "{name}");
        }
    }
}
