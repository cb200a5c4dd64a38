//! What a backup would hold, found out from metadata.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use velero_core::result::Record;
use velero_core::{CancellationToken, GroupResource, ItemHead};

use crate::coverage::Tracker;
use crate::definitions::is_built_in_group;
use crate::lister::{Content, Event, Listing};
use crate::ordered::Ordered;
use crate::plan::{self, Kind};
use crate::reach::{Reach, bad_element};
use crate::seen::Seen;
use crate::{BackupEngine, BackupRequest, Coverage, Error, unmatched};

/// What a backup would hold.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DryRun {
    /// What was found of each kind; `stored` counts what the filters take.
    ///
    /// Objects that actions bring in from outside the filters, such as the volume of a claim, are not known: that takes
    /// more than metadata. The definitions of custom resources are.
    pub coverage: Coverage,
    /// Claims that the filters take: `namespace/name`.
    pub claims: Vec<String>,
    /// Names of the PersistentVolumes that the filters take. Which claims they belong to is not known.
    pub volumes: Vec<String>,
    /// What could not be read, and what is worth telling before a run.
    pub records: Vec<Record>,
}

impl BackupEngine {
    /// Finds out what a backup would hold, by lists of metadata; writes nothing and calls no action.
    ///
    /// # Errors
    /// When the run is cancelled, or the cluster answers nothing any more.
    pub async fn dry_run(
        &self,
        request: &BackupRequest,
        cancel: &CancellationToken,
    ) -> Result<DryRun, Error> {
        let plan = plan::plan(request, self.settings().all_api_versions);
        let survey = Survey {
            engine: self,
            request: Arc::new(request.clone()),
            tracker: Tracker::new(&plan),
            kinds: plan.kinds.into_iter().map(Arc::new).collect(),
            content: Arc::default(),
            claims: Vec::new(),
            volumes: Vec::new(),
            records: request.records().to_vec(),
            custom: BTreeSet::new(),
            seen: Seen::default(),
            ordered: Ordered::read(request.backup()),
            reach: Reach::default(),
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Cancelled),
            outcome = survey.run() => outcome,
        }
    }
}

struct Survey<'a> {
    engine: &'a BackupEngine,
    request: Arc<BackupRequest>,
    kinds: Vec<Arc<Kind>>,
    tracker: Tracker,
    content: Arc<Content>,
    claims: Vec<String>,
    volumes: Vec<String>,
    records: Vec<Record>,
    /// Names of the definitions behind the custom resources that were found.
    custom: BTreeSet<String>,
    seen: Seen,
    ordered: Ordered,
    reach: Reach,
}

impl Survey<'_> {
    async fn run(mut self) -> Result<DryRun, Error> {
        let mut ahead = VecDeque::new();
        let mut next = 0;
        for at in 0..self.kinds.len() {
            let last = at + 1 + self.engine.settings().kinds_ahead;
            while next < self.kinds.len().min(last) {
                ahead.push_back(self.start(&self.kinds[next]));
                next += 1;
            }
            if let Some(listing) = ahead.pop_front() {
                self.kind(at, listing).await?;
            }
        }
        self.records
            .extend(std::mem::take(&mut self.ordered).unfound());
        let nothing = unmatched::everything(&self.request, &self.tracker.totals());
        self.records.extend(nothing);
        self.definitions().await?;
        Ok(DryRun {
            coverage: self.tracker.finish(),
            claims: self.claims,
            volumes: self.volumes,
            records: self.records,
        })
    }

    fn start(&self, kind: &Arc<Kind>) -> Listing {
        let mut options = self.engine.settings().list.clone();
        // Whether a Namespace object is stored depends on its phase.
        options.metadata_only = !kind.is_namespaces();
        Listing::start(
            self.engine.cluster(),
            &self.request,
            kind,
            &options,
            Some(Arc::clone(&self.content)),
        )
    }

    async fn kind(&mut self, at: usize, mut listing: Listing) -> Result<(), Error> {
        let kind = Arc::clone(&self.kinds[at]);
        self.ordered.has_kind(&kind.gr.resource);
        while let Some(event) = listing.next().await {
            match event {
                Event::Page(items, bad) => {
                    self.reach.answered();
                    self.tracker.bad(at, bad.len());
                    let told = bad.iter().map(|element| bad_element(&kind.gr, element));
                    self.records.extend(told);
                    for item in &items {
                        self.item(at, &kind, item.head());
                    }
                    if !items.is_empty() && !is_built_in_group(&kind.gr.group) {
                        self.custom.insert(kind.gr.to_string());
                    }
                }
                Event::Failed { namespace, error } => {
                    self.tracker.incomplete(at);
                    self.failed(&kind.gr, namespace, error)?;
                }
                Event::Ended(tally) => self.tracker.ended(at, tally),
            }
        }
        Ok(())
    }

    /// Counts an object that the filters take, once.
    fn item(&mut self, at: usize, kind: &Kind, head: &ItemHead) {
        // The heads say PartialObjectMetadata.
        let version = kind.resource.api_version();
        let (namespace, name) = (&head.namespace, &head.name);
        let fresh = self
            .seen
            .insert(&version, &kind.resource.kind, namespace, name);
        if !fresh {
            return;
        }
        let rule = if kind.is_namespaces() {
            let has_content = self.content.has(&head.name);
            self.request.why_not_namespace(head, has_content)
        } else {
            None
        };
        match rule {
            Some(rule) => self.tracker.left_out(at, rule),
            None => {
                self.tracker.taken(at, 1);
                self.tracker.stored(&kind.resource);
                self.ordered.mark(&kind.gr.resource, namespace, name);
                self.volume(&kind.gr, head);
            }
        }
    }

    /// Takes note of a claim or a PersistentVolume.
    fn volume(&mut self, gr: &GroupResource, head: &ItemHead) {
        if !gr.group.is_empty() {
            return;
        }
        match gr.resource.as_str() {
            "persistentvolumeclaims" => {
                let claim = format!("{}/{}", head.namespace, head.name);
                self.claims.push(claim);
            }
            "persistentvolumes" => self.volumes.push(head.name.clone()),
            _ => {}
        }
    }

    fn failed(
        &mut self,
        resource: &GroupResource,
        namespace: Option<String>,
        error: velero_cluster::Error,
    ) -> Result<(), Error> {
        let what = "not all objects of this kind were seen";
        let record = self.reach.failed(resource, namespace, what, error)?;
        self.records.push(record);
        Ok(())
    }

    /// Counts the definitions that a backup stores because their custom resources are in it.
    async fn definitions(&mut self) -> Result<(), Error> {
        let gr = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
        let Some(resource) = self.request.catalog().get(&gr).cloned() else {
            return Ok(());
        };
        let planned = self.kinds.iter().any(|kind| kind.gr == gr);
        if planned || self.custom.is_empty() || !self.request.takes_related(&resource, "") {
            return Ok(());
        }
        let kind = Arc::new(Kind {
            resource: resource.clone(),
            gr: gr.clone(),
            names: None,
            selector: Default::default(),
        });
        let mut listing = self.start(&kind);
        while let Some(event) = listing.next().await {
            match event {
                Event::Page(items, _) => {
                    for item in items {
                        if self.custom.contains(&item.head().name) {
                            self.tracker.related(&resource, None);
                            self.tracker.stored(&resource);
                        }
                    }
                }
                Event::Failed { namespace, error } => {
                    self.tracker.incomplete_kind(&resource);
                    self.failed(&gr, namespace, error)?;
                }
                Event::Ended(_) => {}
            }
        }
        Ok(())
    }
}
