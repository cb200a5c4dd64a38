//! Which items are done with, under way or waiting for others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use velero_core::plan::ItemId;

const NEW: u8 = 0;
const RUNNING: u8 = 1;
const ABSENT: u8 = 2;
const EXISTS: u8 = 3;

/// The state of every item of a run. Each is taken up once, however many ask for it.
#[derive(Debug)]
pub(super) struct States {
    items: Vec<AtomicU8>,
    finished: Notify,
    /// Which item waits for which other.
    waits: Mutex<HashMap<ItemId, ItemId>>,
}

/// Who handles an item.
#[derive(Debug)]
pub(super) enum Claim<'a> {
    /// The caller, who drops the ticket when the item is done with.
    Mine(Ticket<'a>),
    /// Somebody else, who has done so: whether the object exists.
    Done(bool),
    /// Somebody else, who is at it.
    Running,
}

/// The right to handle an item. When it goes the item counts as done with.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    states: &'a States,
    id: ItemId,
    exists: bool,
    back: bool,
    /// Whether the item may be put off.
    pub(super) may_put_off: bool,
}

impl Ticket<'_> {
    /// Gives the item back: it is taken up another time.
    pub(super) fn give_back(&mut self) {
        self.back = true;
    }

    /// Says that the object exists in the cluster.
    pub(super) fn set_exists(&mut self) {
        self.exists = true;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.states.items.get(self.id.0 as usize) {
            let now = match (self.back, self.exists) {
                (true, _) => NEW,
                (false, true) => EXISTS,
                (false, false) => ABSENT,
            };
            state.store(now, Ordering::Release);
        }
        self.states.finished.notify_waiters();
    }
}

impl States {
    pub(super) fn new(items: usize) -> Self {
        Self {
            items: (0..items).map(|_| AtomicU8::new(NEW)).collect(),
            finished: Notify::new(),
            waits: Mutex::default(),
        }
    }

    pub(super) fn claim(&self, id: ItemId) -> Claim<'_> {
        let Some(state) = self.items.get(id.0 as usize) else {
            return Claim::Done(false);
        };
        match state.compare_exchange(NEW, RUNNING, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Claim::Mine(Ticket {
                states: self,
                id,
                exists: false,
                back: false,
                may_put_off: false,
            }),
            Err(RUNNING) => Claim::Running,
            Err(done) => Claim::Done(done == EXISTS),
        }
    }

    /// Whether an item is done with and its object exists.
    pub(super) fn exists(&self, id: ItemId) -> bool {
        self.items
            .get(id.0 as usize)
            .is_some_and(|state| state.load(Ordering::Acquire) == EXISTS)
    }

    /// Whether somebody has taken an item up.
    pub(super) fn is_touched(&self, id: ItemId) -> bool {
        self.items
            .get(id.0 as usize)
            .is_some_and(|state| state.load(Ordering::Acquire) != NEW)
    }

    /// Whether an item is done with, well or not.
    pub(super) fn is_done(&self, id: ItemId) -> bool {
        let state = self.items.get(id.0 as usize);
        state.is_some_and(|state| matches!(state.load(Ordering::Acquire), ABSENT | EXISTS))
    }

    /// Waits until an item that somebody handles is done with: whether the object exists; `None` when it was given back.
    pub(super) async fn finished(&self, id: ItemId) -> Option<bool> {
        loop {
            let next = self.finished.notified();
            match self
                .items
                .get(id.0 as usize)
                .map(|state| state.load(Ordering::Acquire))
            {
                Some(RUNNING) => next.await,
                Some(NEW) => return None,
                done => return Some(done == Some(EXISTS)),
            }
        }
    }

    /// Notes that `item` waits for `other`; `false` when `other` waits for `item` already, directly or not.
    pub(super) fn begin_wait(&self, item: ItemId, other: ItemId) -> bool {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = other;
        loop {
            if at == item {
                return false;
            }
            match waits.get(&at) {
                Some(next) => at = *next,
                None => break,
            }
        }
        waits.insert(item, other);
        true
    }

    pub(super) fn end_wait(&self, item: ItemId) {
        self.waits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn items_are_taken_up_once() {
        let states = States::new(2);
        let Claim::Mine(mut ticket) = states.claim(ItemId(0)) else {
            panic!("the first to ask gets it")
        };
        assert!(matches!(states.claim(ItemId(0)), Claim::Running));
        let (exists, ()) = tokio::join!(states.finished(ItemId(0)), async {
            tokio::task::yield_now().await;
            ticket.set_exists();
            drop(ticket);
        });
        assert!(exists == Some(true) && matches!(states.claim(ItemId(0)), Claim::Done(true)));
        drop(states.claim(ItemId(1)));
        assert!(
            matches!(states.claim(ItemId(1)), Claim::Done(false))
                && matches!(states.claim(ItemId(9)), Claim::Done(false))
        );
    }

    #[tokio::test]
    async fn items_that_are_given_back_are_taken_up_again() {
        let states = States::new(1);
        let Claim::Mine(mut ticket) = states.claim(ItemId(0)) else {
            panic!("the first to ask gets it")
        };
        let (ended, ()) = tokio::join!(states.finished(ItemId(0)), async {
            tokio::task::yield_now().await;
            ticket.give_back();
            drop(ticket);
        });
        assert!(ended.is_none() && matches!(states.claim(ItemId(0)), Claim::Mine(_)));
    }

    #[test]
    fn circles_are_found() {
        let states = States::new(4);
        let [a, b, c] = [ItemId(0), ItemId(1), ItemId(2)];
        assert!(states.begin_wait(a, b) && states.begin_wait(b, c));
        assert!(!states.begin_wait(c, a) && !states.begin_wait(c, c));
        states.end_wait(b);
        assert!(states.begin_wait(c, a));
    }
}
