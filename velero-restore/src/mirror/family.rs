//! Who owns whom among the objects that a search has seen.

use std::collections::{HashMap, HashSet};

use velero_core::ItemHead;

/// Owners by their uids: those of objects that the backup has, and those of owners.
#[derive(Debug, Default)]
pub(super) struct Family {
    /// Owners of objects that the backup has.
    owners: HashSet<Box<str>>,
    /// Owners of objects that the backup does not have, by the uid of the object.
    of_others: HashMap<Box<str>, Vec<Box<str>>>,
}

impl Family {
    pub(super) fn note(&mut self, head: &ItemHead, is_backed_up: bool) {
        let owners = head
            .owners
            .iter()
            .map(|owner| Box::from(owner.uid.as_str()));
        if is_backed_up {
            self.owners.extend(owners);
        } else if !head.owners.is_empty() {
            self.of_others
                .insert(head.uid.as_str().into(), owners.collect());
        }
    }

    /// The owners of objects that the backup has, and the owners of these, up to the last.
    pub(super) fn owners_of_backed_up(&self) -> HashSet<Box<str>> {
        let mut all = self.owners.clone();
        let mut open: Vec<Box<str>> = all.iter().cloned().collect();
        while let Some(uid) = open.pop() {
            for owner in self.of_others.get(&uid).into_iter().flatten() {
                if all.insert(owner.clone()) {
                    open.push(owner.clone());
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use velero_core::OwnerRef;

    fn head(uid: &str, owners: &[&str]) -> ItemHead {
        let owner = |uid: &&str| OwnerRef {
            uid: (*uid).to_owned(),
            ..OwnerRef::default()
        };
        ItemHead {
            uid: uid.to_owned(),
            owners: owners.iter().map(owner).collect(),
            ..ItemHead::default()
        }
    }

    #[test]
    fn owners_are_followed_up_to_the_last() {
        let mut family = Family::default();
        family.note(&head("set", &["deployment"]), false);
        family.note(&head("deployment", &["app"]), false);
        family.note(&head("other", &["somebody"]), false);
        family.note(&head("pod", &["set"]), true);
        let mut owners: Vec<_> = family.owners_of_backed_up().into_iter().collect();
        owners.sort();
        let owners: Vec<&str> = owners.iter().map(AsRef::as_ref).collect();
        assert_eq!(owners, ["app", "deployment", "set"]);
    }
}
