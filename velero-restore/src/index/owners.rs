//! Which items of an archive own others.

use std::collections::{HashMap, HashSet};

use velero_core::RawItem;
use velero_core::plan::ItemId;

/// The items that others name as their owners, by a digest of the uid that they had.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    by_uid: HashMap<u128, ItemId>,
    ids: HashSet<ItemId>,
}

impl Owners {
    /// The item that had this uid, if another one names it as its owner.
    pub(crate) fn find(&self, uid: &str) -> Option<ItemId> {
        self.by_uid.get(&digest(uid)).copied()
    }

    /// Whether another item names this one as its owner.
    pub(crate) fn has(&self, id: ItemId) -> bool {
        self.ids.contains(&id)
    }
}

/// Finds them while an archive is read, in which owners may come before and after what they own.
#[derive(Debug, Default)]
pub(super) struct OwnerPass {
    /// Of each item.
    uids: Vec<u128>,
    named: HashSet<u128>,
}

impl OwnerPass {
    /// Notes the next item.
    pub(super) fn note(&mut self, item: &RawItem) {
        self.uids.push(digest(&item.head().uid));
        let named = item.head().owners.iter();
        self.named.extend(named.map(|owner| digest(&owner.uid)));
    }

    /// Keeps the items that are owners.
    pub(super) fn finish(self) -> Owners {
        let named = &self.named;
        let numbered = (0u32..).zip(self.uids);
        let by_uid: HashMap<u128, ItemId> = numbered
            .filter(|(_, uid)| named.contains(uid))
            .map(|(id, uid)| (uid, ItemId(id)))
            .collect();
        Owners {
            ids: by_uid.values().copied().collect(),
            by_uid,
        }
    }
}

/// FNV-1a of 128 bits. Whoever finds an item by it compares type and name as well.
fn digest(uid: &str) -> u128 {
    const START: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    uid.bytes().fold(START, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(uid: &str, owners: &[&str]) -> RawItem {
        let owners: Vec<_> = owners.iter().map(|uid| json!({"uid": uid})).collect();
        let metadata = json!({"name": uid, "uid": uid, "ownerReferences": owners});
        let item = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        RawItem::parse(item.to_string().into()).unwrap()
    }

    #[test]
    fn owners_are_found_on_both_sides_of_what_they_own() {
        let mut pass = OwnerPass::default();
        for item in [
            item("a", &[]),
            item("b", &["a", "c", "gone"]),
            item("c", &[]),
        ] {
            pass.note(&item);
        }
        let owners = pass.finish();
        assert_eq!(
            (owners.find("a"), owners.find("c")),
            (Some(ItemId(0)), Some(ItemId(2)))
        );
        assert_eq!((owners.find("b"), owners.find("gone")), (None, None));
        assert!(owners.has(ItemId(0)) && !owners.has(ItemId(1)));
    }
}
