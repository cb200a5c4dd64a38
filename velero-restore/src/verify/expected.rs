//! What a plan has found, as small numbers, to be compared with what is found later.

use std::collections::{BTreeMap, HashMap, HashSet};

use sha2::{Digest as _, Sha256};
use velero_core::plan::{ItemVerdict, Verdict};

/// Most objects that a refusal names.
const NAMED: usize = 20;

/// What a plan has found: 16 bytes for each item. A run that is given it first looks whether the world is still so, and
/// does nothing where it is not.
///
/// What counts is the verdict, the object that would be written, and which object of the cluster it would meet with
/// which content. Its status and its bookkeeping may have changed. Items that are left out do not count.
/// Of objects that are to be deleted the names are kept, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedPlan {
    states: HashMap<u64, u64>,
    deletions: BTreeMap<Box<str>, u64>,
}

impl ExpectedPlan {
    /// Notes what was found of an item.
    pub fn add(&mut self, item: &ItemVerdict) {
        if item.verdict != Verdict::Excluded {
            self.states.insert(key_of(item), state_of(item));
        }
        if item.verdict == Verdict::Delete {
            self.deletions.insert(item.place().into(), key_of(item));
        }
    }

    /// How many items are to be taken up.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether it says anything of an object.
    pub(crate) fn names(&self, resource: &str, namespace: &str, name: &str) -> bool {
        let key = digest(&[resource, namespace, name]);
        self.states.contains_key(&key)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }
}

/// Compares what is found with what was.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    expected: &'a ExpectedPlan,
    /// Whether an earlier attempt has carried out a part of the plan.
    resumes: bool,
    seen: HashSet<u64>,
    /// Items left out now that may have been taken up in the plan: of those that come to one name, others are left out.
    excluded: BTreeMap<u64, String>,
    moved: Vec<String>,
    count: usize,
}

impl<'a> Comparison<'a> {
    /// A comparison. Where the restore `resumes`, what its earlier attempt has done must not be seen at all, and what can
    /// have become of it is borne with: less to be done, and verdicts that are surer by now.
    pub(crate) fn new(expected: &'a ExpectedPlan, resumes: bool) -> Self {
        Self {
            expected,
            resumes,
            seen: HashSet::new(),
            excluded: BTreeMap::new(),
            moved: Vec::new(),
            count: 0,
        }
    }

    pub(crate) fn see(&mut self, item: &ItemVerdict) {
        let key = key_of(item);
        if self.resumes && self.is_borne_with(key, item) {
            self.seen.insert(key);
            return;
        }
        match self.expected.states.get(&key) {
            None if item.verdict == Verdict::Excluded => {}
            Some(_) if item.verdict == Verdict::Excluded => {
                let text = format!("{} (now: {})", item.place(), item.summary());
                self.excluded.insert(key, text);
            }
            Some(state) if *state == state_of(item) => {
                self.seen.insert(key);
            }
            Some(_) => {
                self.seen.insert(key);
                self.note(format!("{} (now: {})", item.place(), item.summary()));
            }
            None => self.note(format!("{} (not in the plan)", item.place())),
        }
    }

    /// As [`Comparison::see`], of an object that an earlier attempt seems to have created: where the plan is to create it,
    /// it need not be as it was made.
    pub(crate) fn see_made(&mut self, item: &ItemVerdict) {
        let mut before = item.clone();
        before.live = None;
        let key = key_of(item);
        if self
            .expected
            .states
            .get(&key)
            .is_some_and(|planned| is_like(&before, *planned))
        {
            self.seen.insert(key);
        } else {
            self.see(item);
        }
    }

    /// Whether what is found is no reason for a restore that goes on to stop: there is nothing to be done about it, it is
    /// not in the plan and nothing is to become of it, or only what the API server says of it has changed.
    fn is_borne_with(&self, key: u64, item: &ItemVerdict) -> bool {
        if matches!(item.verdict, Verdict::SkipIdentical | Verdict::Excluded) {
            return true;
        }
        let Some(planned) = self.expected.states.get(&key) else {
            return matches!(item.verdict, Verdict::Delete | Verdict::Blocked);
        };
        if item.verdict == Verdict::Delete {
            return false;
        }
        is_like(item, *planned)
    }

    fn note(&mut self, text: String) {
        self.count += 1;
        if self.moved.len() < NAMED {
            self.moved.push(text);
        }
    }

    /// What has moved; `None` when all is as it was.
    pub(crate) fn moved(mut self) -> Option<Vec<String>> {
        if self.resumes {
            // What was done is not looked at again, and what was deleted is gone.
            return self.named();
        }
        for (key, text) in std::mem::take(&mut self.excluded) {
            if self.seen.insert(key) {
                self.note(text);
            }
        }
        let expected = self.expected;
        let deletions = expected.deletions.iter();
        let gone: Vec<&str> = deletions
            .filter(|(_, key)| !self.seen.contains(key))
            .map(|(place, _)| &**place)
            .collect();
        for place in &gone {
            self.note(format!("{place} (to be deleted, and not there any more)"));
        }
        let gone = expected.len() - self.seen.len() - gone.len();
        let mut moved = self.named().unwrap_or_default();
        if gone > 0 {
            moved.push(format!("not in the archive any more: {gone}"));
        }
        (!moved.is_empty()).then_some(moved)
    }

    /// The objects that were noted, and how many more there are.
    fn named(mut self) -> Option<Vec<String>> {
        let more = self.count - self.moved.len();
        if more > 0 {
            self.moved.push(format!("{more} more"));
        }
        (!self.moved.is_empty()).then_some(self.moved)
    }
}

fn key_of(item: &ItemVerdict) -> u64 {
    digest(&[&item.resource, &item.namespace, &item.name])
}

fn state_of(item: &ItemVerdict) -> u64 {
    state_with(item, item.verdict, item.unverified)
}

/// Whether a state is that of an item, whatever the API server said of it.
fn is_like(item: &ItemVerdict, planned: u64) -> bool {
    let verdicts = [
        Verdict::Create,
        Verdict::Update,
        Verdict::Conflict,
        Verdict::Blocked,
    ];
    let mut states = verdicts
        .into_iter()
        .flat_map(|verdict| [false, true].map(|unverified| state_with(item, verdict, unverified)));
    states.any(|state| state == planned)
}

/// The state of an item with another verdict.
fn state_with(item: &ItemVerdict, verdict: Verdict, unverified: bool) -> u64 {
    let live = item.live.as_ref();
    let subject_to = item.subject_to.join(",");
    digest(&[
        verdict.as_str(),
        if unverified { "unverified" } else { "" },
        &subject_to,
        &item.wanted,
        live.map_or("", |live| &live.uid),
        live.map_or("", |live| &live.content),
    ])
}

fn digest(parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let bytes = hash.finalize();
    bytes
        .iter()
        .take(8)
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use velero_core::plan::LiveObject;

    fn item(name: &str) -> ItemVerdict {
        ItemVerdict {
            resource: "configmaps".into(),
            namespace: "shop".into(),
            name: name.into(),
            verdict: Verdict::Update,
            wanted: "w".into(),
            live: Some(LiveObject {
                uid: "u".into(),
                resource_version: "7".into(),
                content: "c".into(),
            }),
            ..ItemVerdict::default()
        }
    }

    fn moved(planned: &[ItemVerdict], found: &[ItemVerdict]) -> Option<Vec<String>> {
        let mut expected = ExpectedPlan::default();
        planned.iter().for_each(|item| expected.add(item));
        let mut comparison = Comparison::new(&expected, false);
        found.iter().for_each(|item| comparison.see(item));
        comparison.moved()
    }

    #[test]
    fn what_counts_as_moved() {
        type Change = fn(&mut ItemVerdict);
        for (change, is_moved) in [
            ((|_| {}) as Change, false),
            (|i| i.reason = "another text".into(), false),
            (
                |i| i.live.as_mut().unwrap().resource_version = "8".into(),
                false,
            ),
            (|i| i.live.as_mut().unwrap().content = "d".into(), true),
            (|i| i.live.as_mut().unwrap().uid = "v".into(), true),
            (|i| i.live = None, true),
            (|i| i.wanted = "x".into(), true),
            (|i| i.verdict = Verdict::Conflict, true),
            (|i| i.unverified = true, true),
            (|i| i.subject_to = vec!["a".into()], true),
        ] {
            let mut now = item("a");
            change(&mut now);
            let said = moved(&[item("a")], &[now.clone()]);
            assert_eq!(said.is_some(), is_moved, "{now:?} {said:?}");
        }
    }

    #[test]
    fn what_an_earlier_attempt_has_done_has_not_moved() {
        type Change = fn(&mut ItemVerdict);
        let resumed = |planned: &[ItemVerdict], found: &ItemVerdict| {
            let mut expected = ExpectedPlan::default();
            planned.iter().for_each(|item| expected.add(item));
            let mut comparison = Comparison::new(&expected, true);
            comparison.see(found);
            comparison.moved()
        };
        for (change, is_moved) in [
            ((|_| {}) as Change, false),
            (|i| i.verdict = Verdict::SkipIdentical, false),
            (|i| i.verdict = Verdict::Conflict, false),
            (|i| i.unverified = true, false),
            (|i| i.live.as_mut().unwrap().content = "d".into(), true),
            (|i| i.live.as_mut().unwrap().uid = "v".into(), true),
            (|i| i.live = None, true),
            (|i| i.wanted = "x".into(), true),
            (|i| i.subject_to = vec!["a".into()], true),
            (|i| i.name = "new".into(), true),
        ] {
            let mut now = item("a");
            change(&mut now);
            // The second item is done and not seen again.
            let said = resumed(&[item("a"), item("b")], &now);
            assert_eq!(said.is_some(), is_moved, "{now:?} {said:?}");
        }
        let (mut planned, mut made) = (item("a"), item("a"));
        planned.verdict = Verdict::Create;
        planned.live = None;
        made.live.as_mut().unwrap().content = "others have changed it".into();
        for (planned, is_moved) in [(planned, false), (item("a"), true)] {
            let mut expected = ExpectedPlan::default();
            expected.add(&planned);
            let mut comparison = Comparison::new(&expected, true);
            comparison.see_made(&made);
            assert_eq!(comparison.moved().is_some(), is_moved, "{planned:?}");
        }
        let mut doomed = item("a");
        doomed.verdict = Verdict::Delete;
        assert_eq!(resumed(&[], &doomed), None);
        assert_eq!(resumed(&[doomed.clone()], &doomed), None);
        let mut changed = doomed.clone();
        changed.live.as_mut().unwrap().content = "d".into();
        assert!(resumed(&[doomed], &changed).is_some());
    }

    #[test]
    fn of_two_items_that_come_to_one_name_the_other_is_left_out() {
        let (taken, mut left_out) = (item("a"), item("a"));
        left_out.verdict = Verdict::Excluded;
        let (first, second) = ([taken.clone(), left_out.clone()], [left_out, taken]);
        for planned in [&first, &second] {
            for found in [&first, &second] {
                assert_eq!(moved(planned, found), None);
            }
            assert_eq!(
                moved(planned, &second[..1]).unwrap(),
                ["configmaps shop/a (now: excluded)"]
            );
        }
    }

    #[test]
    fn objects_are_named_up_to_a_point() {
        let items: Vec<ItemVerdict> = (0..30).map(|n| item(&format!("n{n}"))).collect();
        let mut excluded = item("left-out");
        excluded.verdict = Verdict::Excluded;
        assert_eq!(moved(&items, &items), None);
        assert_eq!(moved(&[excluded.clone()], &[]), None);
        assert_eq!(moved(&[], std::slice::from_ref(&excluded)), None);
        excluded.name = "n0".into();
        assert_eq!(
            moved(&items[..1], &[excluded]).unwrap(),
            ["configmaps shop/n0 (now: excluded)"]
        );
        assert_eq!(
            moved(&items[..1], &items[..2]).unwrap(),
            ["configmaps shop/n1 (not in the plan)"]
        );
        assert_eq!(
            moved(&items[..2], &items[..1]).unwrap(),
            ["not in the archive any more: 1"]
        );
        let all = moved(&[], &items).unwrap();
        assert_eq!((all.len(), all[20].as_str()), (21, "10 more"));
    }
}
