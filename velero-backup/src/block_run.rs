//! Handling item blocks: pre hooks, actions and additional items, post hooks, and the archive in the order of the blocks.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use velero_core::ResourceIdentifier;

use crate::Error;
use crate::blocks::{Block, Member};
use crate::hooks::Step;
use crate::pod_facts::PodFacts;
use crate::prepared::identify;
use crate::run::{CHUNK, Run};

/// Items whose actions have run: they and their additional items are among [`Run::ready`](crate::run::Run).
pub(crate) type Worked = Vec<ResourceIdentifier>;

/// The pods of a block that have hooks.
fn hooked(block: &[Member]) -> Vec<Arc<PodFacts>> {
    block
        .iter()
        .filter_map(|member| member.pod.clone())
        .filter(|pod| pod.has_hooks())
        .collect()
}

/// Puts neighbours without hooks together, as many as are worked on at once.
fn merge(blocks: Vec<Block>) -> VecDeque<Block> {
    let mut out: VecDeque<Block> = VecDeque::new();
    let mut open = false;
    for block in blocks {
        if !hooked(&block).is_empty() {
            open = false;
            out.push_back(block);
            continue;
        }
        for member in block {
            match out.back_mut().filter(|last| open && last.len() < CHUNK) {
                Some(last) => last.push(member),
                None => out.push_back(vec![member]),
            }
            open = true;
        }
    }
    out
}

impl Run<'_> {
    /// Handles blocks; hooks of as many at a time as the options allow, one by default.
    pub(crate) async fn run_blocks(&mut self, blocks: Vec<Block>) -> Result<(), Error> {
        let workers = self.options.item_block_workers.max(1);
        let mut waiting = merge(blocks);
        let mut active: HashMap<usize, Block> = HashMap::new();
        let mut worked: BTreeMap<usize, Worked> = BTreeMap::new();
        let (mut started, mut stored) = (0, 0);
        loop {
            while self.hooks.running() < workers && worked.len() < workers {
                let Some(block) = waiting.pop_front() else {
                    break;
                };
                let block = self.still_to_do(block);
                let place = started;
                started += 1;
                let pods = hooked(&block);
                if pods.is_empty() {
                    worked.insert(place, self.work(block).await?);
                } else {
                    self.hooks.start_pre(place, pods);
                    active.insert(place, block);
                }
                stored = self.store_turn(&mut worked, stored).await?;
            }
            match self.hooks.next().await {
                Some(Step::Pre(outcome)) => {
                    let block = active.remove(&outcome.place).unwrap_or_default();
                    for record in outcome.records {
                        self.out.record(record);
                    }
                    let block = self.without(block, &outcome.stopped);
                    let begun = self.volumes.begun_copies();
                    worked.insert(outcome.place, self.work(block).await?);
                    // What a hook has frozen stays so until its files are copied.
                    self.wait_for_copies(begun).await;
                    self.hooks.start_post(outcome.place, outcome.passed);
                }
                Some(Step::Post(outcome)) => {
                    for record in outcome.records {
                        self.out.record(record);
                    }
                }
                None if waiting.is_empty() => {
                    self.forget_ready();
                    return Ok(());
                }
                None => {}
            }
            stored = self.store_turn(&mut worked, stored).await?;
        }
    }

    /// Stores the blocks whose turn it is; gives the place of the next one.
    async fn store_turn(
        &mut self,
        worked: &mut BTreeMap<usize, Worked>,
        mut next: usize,
    ) -> Result<usize, Error> {
        while let Some(block) = worked.remove(&next) {
            self.lay(block).await?;
            next += 1;
        }
        Ok(next)
    }

    /// Takes items out of a block that have been stored since it was formed, because others asked for them.
    fn still_to_do(&mut self, block: Block) -> Block {
        let (done, rest): (Block, Block) = block
            .into_iter()
            .partition(|member| self.is_taken(&member.resource, member.item.head()));
        for member in done.iter().filter(|member| member.counted) {
            self.uncount_one(&member.resource);
        }
        rest
    }

    /// Takes pods out of a block that must not be in the backup; nothing else brings them in, either.
    fn without(&mut self, block: Block, pods: &[Arc<PodFacts>]) -> Block {
        let (out, rest): (Block, Block) = block.into_iter().partition(|member| {
            let stopped = |pod: &Arc<PodFacts>| pods.iter().any(|p| Arc::ptr_eq(p, pod));
            member.pod.as_ref().is_some_and(stopped)
        });
        for member in out {
            if !member.counted {
                self.count_one(&member.resource, member.item.head());
            }
            self.take_note(member.item.head());
            self.mark_broken(member.id());
            // Another block has asked for it.
            if let Some(item) = self.ready.remove(&identify(&member.resource, &member.item)) {
                self.dropped(item);
            }
        }
        rest
    }

    /// Runs the actions of some items and finds their additional items.
    ///
    /// An item that another block has asked for in the meantime is not worked on twice: the block that comes first in the
    /// archive stores it.
    pub(crate) async fn work(&mut self, items: Vec<Member>) -> Result<Worked, Error> {
        let mut order = Worked::new();
        let mut fresh = Vec::new();
        let mut known = HashSet::new();
        for member in items {
            let id = member.id();
            let taken = self.is_taken(&member.resource, member.item.head());
            if taken || self.ready.contains_key(&id) || !known.insert(id.clone()) {
                if member.counted {
                    self.uncount_one(&member.resource);
                }
            } else {
                if !member.counted {
                    self.count_one(&member.resource, member.item.head());
                }
                fresh.push(member);
            }
            order.push(id);
        }
        let mut wanted = Vec::new();
        self.know_bindings(&fresh).await?;
        for item in self.prepare_all(fresh).await {
            wanted.extend(crate::related::wanted_by(&item));
            self.ready.insert(item.id(), item);
        }
        let mut additional = self.follow(wanted).await?;
        additional.sort();
        let mine = order.iter().filter(|id| known.contains(*id));
        self.protect_ready(mine.chain(&additional)).await;
        Ok(order)
    }

    /// Stores items, each behind what it asks for.
    pub(crate) async fn lay(&mut self, worked: Worked) -> Result<(), Error> {
        for id in worked {
            let Some(item) = self.ready.remove(&id) else {
                continue;
            };
            let mut order = Vec::new();
            self.in_order(item, &mut order);
            for item in order {
                self.store(item).await?;
            }
        }
        Ok(())
    }

    /// Works on items and stores them.
    pub(crate) async fn work_and_lay(&mut self, items: Vec<Member>) -> Result<(), Error> {
        let worked = self.work(items).await?;
        self.lay(worked).await?;
        self.forget_ready();
        Ok(())
    }

    /// Lets go of additional items whose parents are not stored after all. What their actions have done is told.
    fn forget_ready(&mut self) {
        for item in std::mem::take(&mut self.ready).into_values() {
            self.dropped(item);
        }
    }
}
