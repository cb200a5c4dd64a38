//! Objects that claims belong to: whoever deletes one of them has the claims deleted, too, and the data with them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use velero_cluster::{ListOptions, ListScope};
use velero_core::result::chain;
use velero_core::{Catalog, GroupResource, OwnerRef, RawItem};

use super::run::Run;

/// The uids of what owns claims, and of what owns these, each with a claim that goes with it.
type Owners = HashMap<Box<str>, Box<str>>;
type Known = Arc<OnceCell<Result<Owners, String>>>;

/// What is known of each namespace; the empty name stands for all of them.
#[derive(Debug, Default)]
pub(super) struct ClaimOwners {
    known: Mutex<HashMap<String, Known>>,
}

impl ClaimOwners {
    fn of(&self, namespace: &str) -> Known {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(namespace.to_owned()).or_default())
    }
}

/// An owner that is still to be looked at, and a claim of its.
struct Open {
    owner: OwnerRef,
    namespace: String,
    claim: Box<str>,
}

impl Run {
    /// Why the deletion of an object would, or may, take claims along; `None` where it does not. The claims of a namespace
    /// are listed once in a run, with the owners of their owners.
    pub(super) async fn takes_claims_along(
        &self,
        catalog: &Catalog,
        live: &RawItem,
    ) -> Option<String> {
        let head = live.head();
        let known = self.claim_owners.of(&head.namespace);
        let owners = known
            .get_or_init(|| self.owners_of_claims(catalog, &head.namespace))
            .await;
        match owners {
            Ok(owners) => owners
                .get(&*head.uid)
                .map(|claim| format!("claim {claim} belongs to it and would be deleted with it")),
            Err(message) => Some(format!("claims could be deleted with it: {message}")),
        }
    }

    async fn owners_of_claims(&self, catalog: &Catalog, namespace: &str) -> Result<Owners, String> {
        let mut owners = Owners::new();
        let mut open = self.owned_claims(catalog, namespace).await?;
        let mut read = HashSet::new();
        while let Some(next) = open.pop() {
            let uid: Box<str> = next.owner.uid.as_str().into();
            owners
                .entry(uid.clone())
                .or_insert_with(|| next.claim.clone());
            let Some(resource) = catalog
                .by_kind(&next.owner.api_version, &next.owner.kind)
                .filter(|_| read.insert(uid))
            else {
                continue;
            };
            let place = match resource.namespaced {
                true => next.namespace.as_str(),
                false => "",
            };
            let name = &next.owner.name;
            let owner = self.cluster.get(resource, place, name).await;
            let owner = owner.map_err(|error| {
                format!(
                    "the owner {} {name} of claim {} cannot be read: {}",
                    resource.group_resource(),
                    next.claim,
                    chain(&error)
                )
            })?;
            let owner = owner.filter(|owner| owner.head().uid == next.owner.uid);
            let above = owner.map_or_else(Vec::new, |owner| owner.head().owners.clone());
            open.extend(above.into_iter().map(|owner| Open {
                owner,
                namespace: next.namespace.clone(),
                claim: next.claim.clone(),
            }));
        }
        Ok(owners)
    }

    /// The owners that claims name.
    async fn owned_claims(&self, catalog: &Catalog, namespace: &str) -> Result<Vec<Open>, String> {
        let mut all = Vec::new();
        let claims = GroupResource::core("persistentvolumeclaims");
        let Some(resource) = catalog.get(&claims) else {
            return Ok(all);
        };
        let scope = match namespace {
            "" => ListScope::all(),
            namespace => ListScope::namespace(namespace),
        };
        let options = ListOptions::default().metadata_only();
        let mut pages = self.cluster.pages(resource, scope, options);
        loop {
            let page = pages.next().await;
            let page = page.map_err(|e| format!("they cannot be listed: {}", chain(&e)))?;
            let Some(page) = page else {
                return Ok(all);
            };
            for claim in &page.items {
                let head = claim.head();
                let place: Box<str> = format!("{}/{}", head.namespace, head.name).into();
                all.extend(head.owners.iter().map(|owner| Open {
                    owner: owner.clone(),
                    namespace: head.namespace.clone(),
                    claim: place.clone(),
                }));
            }
        }
    }
}
