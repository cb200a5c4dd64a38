//! Objects, their history, and the snapshots that pages of a list are cut from.

pub(crate) mod access;
mod allocations;
mod limits;
mod object;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

pub(crate) use allocations::Allocations;
pub(crate) use limits::fits;
pub(crate) use object::Stored;

use crate::ids::Ids;
use crate::registry::{Registry, Resource};

/// Snapshots kept at once; the oldest goes first, its tokens then answer 410.
const SNAPSHOTS: usize = 64;
/// How long a snapshot lives, as the real server's compaction has it.
const SNAPSHOT_SECONDS: i64 = 300;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One entry of a table's history.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) change: Change,
    pub(crate) rv: u64,
    pub(crate) object: Arc<Stored>,
    /// The state before, which decides whether a selector lost the object.
    pub(crate) before: Option<Arc<Stored>>,
}

/// The objects of one resource.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) objects: BTreeMap<Arc<str>, Arc<Stored>>,
    pub(crate) history: VecDeque<Event>,
    /// Events up to this version are forgotten.
    pub(crate) compacted: u64,
}

#[derive(Debug)]
struct Snapshot {
    table: Arc<str>,
    prefix: String,
    rv: u64,
    made: Timestamp,
    items: Arc<Vec<Arc<Stored>>>,
}

/// Where an object is: table and key.
pub(crate) type Place = (Arc<str>, Arc<str>);

/// Everything that the server remembers, behind one lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) rv: u64,
    pub(crate) ids: Ids,
    pub(crate) registry: Registry,
    tables: HashMap<Arc<str>, Table>,
    /// Owner uid -> dependents, as (table, key).
    dependents: HashMap<Box<str>, HashSet<Place>>,
    snapshots: VecDeque<Snapshot>,
    pub(crate) allocations: Allocations,
    history: usize,
    changed: watch::Sender<u64>,
}

/// The part of a key that all objects of a namespace share.
pub(crate) fn prefix(namespace: Option<&str>) -> String {
    namespace.map(|ns| format!("{ns}/")).unwrap_or_default()
}

/// The key of an object; sorts as the real store does.
pub(crate) fn key(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(ns) => format!("{ns}/{name}"),
        None => name.to_owned(),
    }
}

impl State {
    pub(crate) fn new(seed: u64, first_rv: u64, history: usize) -> Self {
        Self {
            rv: first_rv,
            ids: Ids::seeded(seed),
            registry: Registry::default(),
            tables: HashMap::new(),
            dependents: HashMap::new(),
            snapshots: VecDeque::new(),
            allocations: Allocations::default(),
            history,
            changed: watch::Sender::new(first_rv),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(name)
    }

    pub(crate) fn get(&self, table: &str, key: &str) -> Option<Arc<Stored>> {
        self.tables.get(table)?.objects.get(key).cloned()
    }

    /// Objects whose key starts with `prefix`, in order.
    pub(crate) fn range<'a>(
        &'a self,
        table: &str,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Stored>> + 'a {
        self.range_from(table, prefix, None)
    }

    /// Like [`State::range`], but only keys after `after`.
    pub(crate) fn range_from<'a>(
        &'a self,
        table: &str,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Stored>> + 'a {
        let start: Bound<&str> = after.map_or(Bound::Included(prefix), Bound::Excluded);
        self.tables
            .get(table)
            .into_iter()
            .flat_map(move |t| t.objects.range::<str, _>((start, Bound::Unbounded)))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, object)| object)
    }

    pub(crate) fn table_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self
            .tables
            .iter()
            .filter(|(_, t)| !t.objects.is_empty())
            .map(|(n, _)| n.clone())
            .collect();
        names.sort();
        names
    }

    /// Writes an object and returns it as kept.
    pub(crate) fn put(&mut self, resource: &Resource, mut tree: Value) -> Arc<Stored> {
        self.rv += 1;
        if let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".into(), self.rv.to_string().into());
        }
        let stored = Arc::new(Stored::new(resource, &tree, self.rv));
        if resource.is("", "services") {
            self.allocations.note(&stored.key, &tree);
        }
        let table = self.tables.entry(resource.table.clone()).or_default();
        let before = table.objects.insert(stored.key.clone(), stored.clone());
        let change = if before.is_some() {
            Change::Modified
        } else {
            Change::Added
        };
        if let Some(old) = &before {
            self.unlink(&resource.table, old);
        }
        for owner in &stored.owners {
            let entry = (resource.table.clone(), stored.key.clone());
            self.dependents
                .entry(owner.clone())
                .or_default()
                .insert(entry);
        }
        self.record(
            &resource.table,
            Event {
                change,
                rv: self.rv,
                object: stored.clone(),
                before,
            },
        );
        stored
    }

    /// Takes an object away; what is returned is its last state, under the version of the removal.
    pub(crate) fn remove(&mut self, resource: &Resource, key: &str) -> Option<Arc<Stored>> {
        let old = self.tables.get_mut(&resource.table)?.objects.remove(key)?;
        self.unlink(&resource.table, &old);
        if resource.is("", "services") {
            self.allocations.forget(key);
        }
        self.rv += 1;
        let mut tree = old.tree();
        tree["metadata"]["resourceVersion"] = self.rv.to_string().into();
        let last = Arc::new(Stored::new(resource, &tree, self.rv));
        let event = Event {
            change: Change::Deleted,
            rv: self.rv,
            object: last.clone(),
            before: Some(old),
        };
        self.record(&resource.table, event);
        Some(last)
    }

    fn unlink(&mut self, table: &Arc<str>, object: &Stored) {
        for owner in &object.owners {
            if let Some(set) = self.dependents.get_mut(owner) {
                set.remove(&(table.clone(), object.key.clone()));
                if set.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }

    fn record(&mut self, table: &Arc<str>, event: Event) {
        let rv = event.rv;
        let limit = self.history;
        if let Some(table) = self.tables.get_mut(table) {
            table.history.push_back(event);
            while table.history.len() > limit {
                if let Some(old) = table.history.pop_front() {
                    table.compacted = old.rv;
                }
            }
        }
        self.changed.send_replace(rv);
    }

    /// Objects that name `uid` as an owner, as (table, key), in order.
    pub(crate) fn dependents_of(&self, uid: &str) -> Vec<Place> {
        let mut found: Vec<_> = self
            .dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        found.sort();
        found
    }

    /// Forgets all history and all snapshots: watches and tokens from before answer 410.
    pub(crate) fn compact(&mut self) {
        let rv = self.rv;
        for table in self.tables.values_mut() {
            table.history.clear();
            table.compacted = rv;
        }
        self.snapshots.clear();
    }

    /// The objects under `prefix` as they are now, kept for later pages.
    pub(crate) fn snapshot(
        &mut self,
        table: &Arc<str>,
        prefix: &str,
        now: Timestamp,
    ) -> Arc<Vec<Arc<Stored>>> {
        let rv = self.rv;
        if let Some(found) = self.find_snapshot(table, prefix, rv, now) {
            return found;
        }
        let items: Arc<Vec<_>> = Arc::new(self.range(table, prefix).cloned().collect());
        while self.snapshots.len() >= SNAPSHOTS {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(Snapshot {
            table: table.clone(),
            prefix: prefix.to_owned(),
            rv,
            made: now,
            items: items.clone(),
        });
        items
    }

    /// A snapshot made earlier, unless it has expired.
    pub(crate) fn find_snapshot(
        &mut self,
        table: &str,
        prefix: &str,
        rv: u64,
        now: Timestamp,
    ) -> Option<Arc<Vec<Arc<Stored>>>> {
        self.snapshots
            .retain(|s| now.as_second() - s.made.as_second() < SNAPSHOT_SECONDS);
        self.snapshots
            .iter()
            .find(|s| s.rv == rv && s.table.as_ref() == table && s.prefix == prefix)
            .map(|s| s.items.clone())
    }
}
