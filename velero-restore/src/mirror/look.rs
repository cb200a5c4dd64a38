//! What becomes of an object that a list has shown.

use velero_core::plan::{ItemVerdict, Verdict};
use velero_core::result::chain;
use velero_core::{ApiResource, GroupResource, ItemTree, RawItem};

use super::find::Finder;
use super::stays::{defines, goes_with_it, holder, stays};
use crate::index::is_crd;

/// An object that would be deleted.
pub(super) struct Candidate {
    pub(super) raw: RawItem,
    pub(super) tree: ItemTree,
    /// What goes with it, in words.
    pub(super) goes_with_it: &'static str,
}

/// What becomes of an object.
pub(super) enum Look {
    /// The backup has it, or it is not in scope.
    Kept,
    /// The backup does not have it, and it stays for this reason.
    Stays(String),
    Goes(Box<Candidate>),
}

impl Finder<'_> {
    /// What becomes of an object of a list.
    pub(super) fn look(
        &mut self,
        resource: &ApiResource,
        raw: RawItem,
        is_backed_up: bool,
    ) -> Look {
        let (head, gr) = (raw.head(), resource.group_resource());
        if is_backed_up || !self.scope.takes(&head.namespace, &head.labels) {
            return Look::Kept;
        }
        let tree = match raw.tree() {
            Ok(tree) => tree,
            Err(error) => return Look::Stays(chain(&error)),
        };
        if let Some(why) = stays(&tree, self.homes) {
            if !why.is_of_others() {
                self.held.insert(head.namespace.clone());
            }
            return Look::Stays(why.to_string());
        }
        if let Some(why) = self.is_held(&gr, &tree) {
            self.held.insert(head.namespace.clone());
            return Look::Stays(why);
        }
        if let Some((namespace, name)) = holder(&tree) {
            let claim = (namespace.to_owned(), name.to_owned());
            self.bound.push((head.uid.as_str().into(), claim));
        }
        let goes_with_it = goes_with_it(&tree);
        Look::Goes(Box::new(Candidate {
            raw,
            tree,
            goes_with_it,
        }))
    }

    /// Why an object stays, as far as others are concerned.
    fn is_held(&self, gr: &GroupResource, tree: &ItemTree) -> Option<String> {
        let (namespace, name) = (tree.namespace(), tree.name());
        if gr.is("", "endpoints")
            && self
                .scope
                .has(&GroupResource::core("services"), namespace, name)
        {
            return Some("its Service decides about it".to_owned());
        }
        if let Some((namespace, name)) = holder(tree) {
            let claim = (namespace.to_owned(), name.to_owned());
            let stays = !self.claims.contains(&claim);
            return stays.then(|| format!("it is bound to claim {namespace}/{name}, which stays"));
        }
        if is_crd(gr) {
            let defined = defines(tree);
            let stays = !self.emptied.contains(&defined);
            return stays.then(|| {
                format!("objects of its kind {defined} stay, or may, and would be deleted with it")
            });
        }
        None
    }
}

/// What is told of an object that stays.
pub(super) fn excluded(
    resource: &ApiResource,
    namespace: &str,
    name: &str,
    reason: &str,
) -> ItemVerdict {
    ItemVerdict {
        verdict: Verdict::Excluded,
        reason: format!("not in the backup; it stays: {reason}"),
        ..named(resource, namespace, name)
    }
}

/// What is told of an object, its verdict aside.
pub(super) fn named(resource: &ApiResource, namespace: &str, name: &str) -> ItemVerdict {
    ItemVerdict {
        resource: resource.group_resource().to_string(),
        kind: format!("{}/{}", resource.api_version(), resource.kind),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..ItemVerdict::default()
    }
}
