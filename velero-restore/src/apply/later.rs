//! Items that cannot be restored yet: they are put off until everything else is done, so that nobody else waits for what
//! they wait for.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;
use tokio::sync::Semaphore;
use velero_core::plan::{ItemId, RestorePlan, Wave};

use super::item::Work;
use super::run::{Run, Stage};
use super::waves::apply_wave;
use crate::Error;
use crate::index::IndexedItem;

/// The items of a run that were put off.
#[derive(Debug, Default)]
pub(super) struct Later {
    items: Mutex<HashSet<ItemId>>,
    closed: AtomicBool,
}

impl Later {
    /// Whether items are still put off. In the end they are not: who has to wait then waits.
    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, id: ItemId) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.insert(id);
    }

    /// Ends putting off; gives what was put off.
    pub(super) fn close(&self) -> HashSet<ItemId> {
        self.closed.store(true, Ordering::Relaxed);
        std::mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether an item that is worked on may be put off, and whether it is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Delay {
    /// Nothing has been done yet that would be done a second time.
    may: bool,
    is: bool,
    /// An object of its name is in the cluster and is being deleted.
    pub(super) going: bool,
}

impl Delay {
    pub(super) fn new(may: bool) -> Self {
        Self {
            may,
            ..Self::default()
        }
    }

    pub(super) fn is(self) -> bool {
        self.is
    }

    /// What was done cannot be done a second time.
    pub(super) fn rule_out(&mut self) {
        self.may = false;
    }

    pub(super) fn put_off(&mut self) {
        self.is = true;
    }
}

impl Work<'_> {
    /// Whether the item may be put off still.
    pub(super) fn may_put_off(&self) -> bool {
        self.delay.may && !self.records
    }
}

impl Run {
    /// Takes up what was put off, namespace by namespace at the same time, and waits where that is needed.
    pub(super) async fn take_up_later(
        self: &Arc<Self>,
        stage: &Arc<Stage>,
        plan: &RestorePlan,
        (bytes, permits): (&Arc<Semaphore>, usize),
    ) -> Result<(), Error> {
        let groups = self.groups(plan, &self.later.close());
        let all = groups.into_iter().map(|(namespace, waves)| async move {
            if !namespace.is_empty() {
                // A failure shows at the items; none of them is held in memory while this waits.
                let _ready = self.ensure_namespace(stage, &namespace, &namespace).await;
            }
            for wave in &waves {
                apply_wave(self, stage, wave, bytes, permits).await?;
            }
            Ok::<(), Error>(())
        });
        try_join_all(all).await.map(drop)
    }

    /// The items of a plan that were put off, in its order, by the namespace that they come to.
    fn groups(&self, plan: &RestorePlan, put_off: &HashSet<ItemId>) -> BTreeMap<String, Vec<Wave>> {
        let mut groups: BTreeMap<String, Vec<Wave>> = BTreeMap::new();
        if put_off.is_empty() {
            return groups;
        }
        for wave in &plan.waves {
            for item in wave.items.iter().filter(|id| put_off.contains(id)) {
                let Some(found) = self.index.item(*item) else {
                    continue;
                };
                let waves = groups.entry(self.group_of(&found)).or_default();
                match waves.last_mut() {
                    Some(last) if last.resource == wave.resource => last.items.push(*item),
                    _ => waves.push(Wave {
                        resource: wave.resource.clone(),
                        items: vec![*item],
                    }),
                }
            }
        }
        groups
    }

    fn group_of(&self, item: &IndexedItem<'_>) -> String {
        let source = match item.resource.is("", "namespaces") {
            true => item.name,
            false => item.namespace,
        };
        self.request.target_namespace(source).to_owned()
    }

    /// Whether a refusal comes from a webhook that does not answer: what answers for it may come with this restore.
    pub(super) fn waits_for_webhook(
        &self,
        work: &mut Work<'_>,
        error: &velero_cluster::Error,
    ) -> bool {
        let unanswered = error.kind() == velero_cluster::ErrorKind::Unavailable
            && error
                .call()
                .is_some_and(|call| call.message.contains("failed calling webhook"));
        if unanswered && work.may_put_off() {
            work.delay.put_off();
            return true;
        }
        false
    }
}
