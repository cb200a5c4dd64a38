//! Looking at what a restore would do: the plan, asked of the cluster item by item.

mod differences;
mod expected;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use velero_core::plan::{ItemVerdict, PlanOutline, RestorePlan, Verdict};
use velero_core::result::{About, Record};
use velero_core::{Progress, ProgressUpdate};

pub(crate) use differences::{content, differences};
pub use expected::ExpectedPlan;

use crate::apply::{Parts, Rehearsal, Run, rehearse};
use crate::engine::warnings;
use crate::index::{ArchiveIndex, Spool};
use crate::journal::Ledger;
use crate::mirror::{Found, Search, find};
use crate::plan::brought;
use crate::{Error, RestoreEngine, RestoreRequest, RestoreRun, RunningHooks};
use expected::Comparison;

/// Findings that may wait for whoever takes them.
const WAITING: usize = 64;

/// What a look at a restore finds, in the order in which it is found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Finding {
    /// The plan in short; comes first.
    Outline(PlanOutline),
    /// What would become of an item.
    Item(Box<ItemVerdict>),
    /// What would become of an item whose object an earlier attempt of the same restore seems to have created. No look of
    /// [`RestoreEngine::verify`] finds it.
    Made(Box<ItemVerdict>),
    /// Something about the restore as a whole, or about an object that is in no archive.
    Note(Record),
}

/// What came of a look at a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// How many items have which verdict.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// How many verdicts the API server was not asked about.
    pub unverified: u64,
    /// How many items the restore would count an error for.
    pub errors: u64,
    /// Whether the look was cancelled before its end.
    pub cancelled: bool,
}

impl Verified {
    fn count(&mut self, item: &ItemVerdict) {
        *self.verdicts.entry(item.verdict).or_default() += 1;
        self.unverified += u64::from(item.unverified);
        self.errors += u64::from(item.error);
    }
}

impl RestoreEngine {
    /// Says what a restore would make of each item, and changes nothing: reads, and writes that the API server is asked
    /// to try out alone (`dryRun=All`).
    ///
    /// `each` gets the findings as they come, so that nothing is kept in memory; items of one wave come in any order. The
    /// verdicts are those of the code that restores, with the same filters, actions and comparisons. Actions that do not
    /// declare [`Effects::None`](velero_core::action::Effects::None) are not run; verdicts that they may change name them.
    /// What is not served yet, or lies in a namespace that is not there yet, cannot be tried out: such items are
    /// "unverified" and say why. Nothing is waited for.
    ///
    /// # Errors
    /// As [`RestoreEngine::plan`].
    pub async fn verify<R, F>(
        &self,
        request: &RestoreRequest,
        archive: R,
        run: RestoreRun,
        mut each: F,
    ) -> Result<Verified, Error>
    where
        R: Read + Send + 'static,
        F: FnMut(Finding) + Send,
    {
        let (plan, index, spool) = self.plan(request, archive).await?;
        each(Finding::Outline(plan.outline()));
        let (verified, _, _) = self
            .look(
                request,
                &plan,
                (index, spool),
                (&run, Arc::default()),
                &mut each,
            )
            .await?;
        Ok(verified)
    }

    /// Looks whether the world is still as a plan has found it; gives index and spool back, and what the backup does not
    /// have. Where an earlier attempt was interrupted, what that has done already is not compared, and what the backup does
    /// not have and has come since the plan stays.
    ///
    /// # Errors
    /// When it is not: [`Error::Moved`]. As [`RestoreEngine::verify`] otherwise.
    pub(crate) async fn check_expected(
        &self,
        request: &RestoreRequest,
        plan: &RestorePlan,
        archive: (ArchiveIndex, Spool),
        (run, ledger): (&RestoreRun, &Arc<Ledger>),
        expected: &ExpectedPlan,
    ) -> Result<((ArchiveIndex, Spool), Found), Error> {
        let resumes = ledger.resumes();
        let mut comparison = Comparison::new(expected, resumes);
        let mut each = |finding| match finding {
            Finding::Item(item) => comparison.see(&item),
            Finding::Made(item) => comparison.see_made(&item),
            Finding::Outline(_) | Finding::Note(_) => {}
        };
        let run = (run, Arc::clone(ledger));
        let (verified, archive, mut found) =
            self.look(request, plan, archive, run, &mut each).await?;
        if resumes {
            found.keep(|resource, namespace, name| expected.names(resource, namespace, name));
        }
        if verified.cancelled {
            return Ok((archive, Found::default()));
        }
        match comparison.moved() {
            Some(objects) => Err(Error::Moved { objects }),
            None => Ok((archive, found)),
        }
    }

    async fn look<F: FnMut(Finding) + Send>(
        &self,
        request: &RestoreRequest,
        plan: &RestorePlan,
        archive: (ArchiveIndex, Spool),
        (run, ledger): (&RestoreRun, Arc<Ledger>),
        each: &mut F,
    ) -> Result<(Verified, (ArchiveIndex, Spool), Found), Error> {
        let mut verified = Verified::default();
        let mut take = |finding: Finding| {
            if let Finding::Item(item) = &finding {
                verified.count(item);
            }
            each(finding);
        };
        let of_plan = plan.records.iter().filter(|r| r.about == About::Run);
        for record in of_plan.cloned().chain(warnings(request)) {
            take(Finding::Note(record));
        }
        let (sender, mut findings) = mpsc::channel(WAITING);
        let shared = self.rehearsing(request, plan, archive, (run, ledger), sender.clone());
        let shared = Arc::new(shared);
        let actions = self.actions_for(request);
        let found = {
            let look = async {
                rehearse(&shared, plan, &actions).await?;
                self.look_beyond(request, run, &shared, sender).await
            };
            let mut work = std::pin::pin!(look);
            let ended = loop {
                tokio::select! {
                    biased;
                    Some(finding) = findings.recv() => take(finding),
                    ended = &mut work => break ended,
                }
            };
            while let Ok(finding) = findings.try_recv() {
                take(finding);
            }
            ended?
        };
        let run = Arc::into_inner(shared).ok_or(Error::Internal {
            what: "the look at the restore",
        })?;
        let ended = run.into_rehearsed()?;
        for record in ended.records {
            take(Finding::Note(record));
        }
        verified.cancelled = ended.cancelled;
        Ok((verified, (ended.index, ended.spool), found))
    }

    /// Looks for objects that the backup does not have, where these are to be deleted.
    async fn look_beyond(
        &self,
        request: &RestoreRequest,
        run: &RestoreRun,
        shared: &Run,
        findings: mpsc::Sender<Finding>,
    ) -> Result<Found, Error> {
        if !request.mirrors() {
            return Ok(Found::default());
        }
        let catalog = self.cluster().catalog();
        find(&Search {
            cluster: &self.cluster().dry_run(catalog.clone()),
            request,
            run: shared,
            catalog: &catalog,
            cancel: &run.cancel,
            findings,
        })
        .await
    }

    /// A run that writes nothing.
    fn rehearsing(
        &self,
        request: &RestoreRequest,
        plan: &RestorePlan,
        (index, spool): (ArchiveIndex, Spool),
        (run, ledger): (&RestoreRun, Arc<Ledger>),
        findings: mpsc::Sender<Finding>,
    ) -> Run {
        let served = self.cluster().catalog();
        let cluster = self
            .cluster()
            .dry_run(served.extended_with(brought(&index, plan)));
        let rehearsal = Rehearsal::new(served, self.options.terminating_timeout, findings);
        let mut options = self.options_for(request);
        // What is being deleted is told, not waited for.
        options.terminating_timeout = Duration::ZERO;
        // Owners that the restore creates have no uid yet; references change no verdict.
        options.relink_owners = false;
        let (restore, rules) = (request.restore(), request.exec_hooks().clone());
        let hooks = RunningHooks::new(cluster.clone(), restore, rules, &options, run);
        let parts = Parts {
            cluster,
            request: request.clone(),
            index,
            spool,
            options,
            restorers: self.restorers.clone(),
            hooks,
            ledger,
            run: RestoreRun {
                progress: Arc::new(Quiet(Arc::clone(&run.progress))),
                expected: None,
                journal: None,
                ..run.clone()
            },
        };
        // Left-out items and faults are told one by one.
        let mut waves = RestorePlan {
            records: Vec::new(),
            excluded: BTreeMap::new(),
            ..plan.clone()
        };
        Run::new(parts, &mut waves).rehearsing(rehearsal)
    }
}

/// Progress without the waits, of which there are none.
struct Quiet(Arc<dyn Progress>);

impl Progress for Quiet {
    fn update(&self, update: ProgressUpdate) {
        self.0.update(update);
    }
}
