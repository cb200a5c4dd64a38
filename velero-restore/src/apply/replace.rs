//! Objects that cannot be changed into what the backup has: they are deleted and created anew, where the policy is
//! `recreate`.
//!
//! A patch is tried first. Only one that the API server refuses as invalid (a field that cannot change) leads here, and
//! only where the API server would take the new object: it has just said so by refusing to create a second one of its
//! name, or is asked by a dry run. So an object costs its refused patch, a deletion and a creation. Should it not be
//! created in the end, the old one is put back.

use tokio::time::Instant;
use velero_cluster::{DeleteOptions, ErrorKind, WriteOptions};
use velero_core::result::chain;
use velero_core::{ApiResource, ItemTree, RawItem};

use super::create::{Rest, json_of};
use super::existing::After;
use super::item::Work;
use super::run::Run;
use super::waits::FIRST_PAUSE;

/// How creating an object came out whose predecessor has been deleted.
enum Made {
    /// It is there.
    Ours(RawItem),
    /// Somebody else was faster.
    Theirs(RawItem),
    /// It is not there, and why.
    No(String),
    /// The old one is still being deleted.
    Late(String),
}

/// Why an object is never deleted to be created anew, whatever the policy.
pub(super) fn never_replaced(live: &ItemTree) -> Option<&'static str> {
    let mut owners = live.array_at("/metadata/ownerReferences").iter();
    if owners.any(|owner| owner["controller"] == true) {
        return Some("what controls it decides about it");
    }
    match (live.api_version(), live.kind()) {
        ("v1", "PersistentVolumeClaim" | "PersistentVolume") => {
            Some("its data could be deleted with it")
        }
        ("v1", "Namespace") => Some("all objects in it would be deleted with it"),
        (version, "CustomResourceDefinition") if version.starts_with("apiextensions.k8s.io/") => {
            Some("all objects of its kind would be deleted with it")
        }
        (version, "StatefulSet")
            if version.starts_with("apps/")
                && live.str_at("/spec/persistentVolumeClaimRetentionPolicy/whenDeleted")
                    == "Delete" =>
        {
            Some("its claims would be deleted with it")
        }
        (version, _) if is_custom(version) && !live.array_at("/metadata/finalizers").is_empty() => {
            Some("its finalizers could remove what it stands for")
        }
        _ => None,
    }
}

/// Whether an API version is none of Kubernetes' own.
fn is_custom(version: &str) -> bool {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    group.contains('.') && !group.ends_with(".k8s.io")
}

impl Run {
    /// Deletes an object and creates it as the backup has it. `is_valid` says that the API server would take it.
    pub(super) async fn replace(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        wanted: &ItemTree,
        live: RawItem,
        rest: Rest,
        is_valid: bool,
    ) {
        let may = self.may_replace(work, resource, wanted, &live, is_valid);
        if !may.await {
            return;
        }
        let uid = live.head().uid.clone();
        let options = DeleteOptions::default()
            .uid(uid.as_str())
            .propagation("Background");
        let deleted = self
            .cluster
            .delete(resource, work.namespace, wanted.name(), &options);
        // Where no answer came the object may be on its way out all the same.
        if let Err(error) = deleted.await
            && !error.maybe_done()
        {
            return work.leave(format!(
                "not restored: the object in the cluster differs from the one in the backup, cannot be changed and cannot \
                 be deleted either: {}",
                chain(&error)
            ));
        }
        work.exists = false;
        match self.create_after(work, resource, wanted, &rest, &uid).await {
            Made::Ours(live) => self.created(work, resource, live, rest).await,
            Made::Theirs(live) => {
                let after = self.existing(work, resource, wanted, live, None).await;
                if !matches!(after, After::Done) {
                    work.leave(
                        "was deleted to be created anew, and somebody else has created another one that differs",
                    );
                }
            }
            Made::Late(message) => work.fail(message),
            Made::No(message) => {
                let end = self.put_back(work, resource, &live).await;
                work.fail(format!(
                    "was deleted to be created anew, which failed: {message}; {end}"
                ));
            }
        }
    }

    /// Whether an object may be deleted to be created anew. Changes nothing; where not, the object is left, and why is said.
    pub(super) async fn may_replace(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        wanted: &ItemTree,
        live: &RawItem,
        is_valid: bool,
    ) -> bool {
        if let Some(why) = self.takes_claims_along(&work.stage.catalog, live).await {
            work.leave(format!(
                "not restored: the object in the cluster differs from the one in the backup and cannot be changed; it is \
                 not created anew, as {why}"
            ));
            return false;
        }
        if is_valid {
            return true;
        }
        let Err(message) = self.would_be_taken(work, resource, wanted).await else {
            return true;
        };
        work.leave(format!(
            "not restored: the object in the cluster differs from the one in the backup and cannot be changed, and \
             the one in the backup would be refused: {message}"
        ));
        false
    }

    /// Whether the API server would create an object of this content, were there none of its name.
    async fn would_be_taken(
        &self,
        work: &Work<'_>,
        resource: &ApiResource,
        wanted: &ItemTree,
    ) -> Result<(), String> {
        let options = WriteOptions::default().dry_run(true);
        let (name, body) = (wanted.name(), json_of(wanted));
        let tried = self
            .cluster
            .create(resource, work.namespace, name, body, &options);
        match tried.await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Creates an object as soon as the one of this uid is gone. A cancel does not cut these calls short, as by then the
    /// cluster has neither.
    async fn create_after(
        &self,
        work: &Work<'_>,
        resource: &ApiResource,
        wanted: &ItemTree,
        rest: &Rest,
        uid: &str,
    ) -> Made {
        let deadline = Instant::now() + self.options.terminating_timeout;
        let options = WriteOptions::default().field_manager(rest.manager());
        let (body, name) = (json_of(wanted), wanted.name());
        let (mut pause, mut told) = (FIRST_PAUSE, false);
        loop {
            let made = self
                .lasting
                .create(resource, work.namespace, name, body.clone(), &options);
            let error = match made.await {
                Ok(live) => return Made::Ours(live),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => error,
                Err(error) => return Made::No(chain(&error)),
            };
            // Until the old one is gone it is looked at only.
            loop {
                match self.lasting.get(resource, work.namespace, name).await {
                    Ok(None) => break,
                    Ok(Some(now)) if now.head().uid != uid => {
                        return if error.maybe_done() && self.is_made_now(&now) {
                            Made::Ours(now)
                        } else {
                            Made::Theirs(now)
                        };
                    }
                    Ok(Some(now)) => {
                        if !told {
                            self.tell_deletion(work, name);
                            told = true;
                        }
                        if !self.pause(deadline, pause).await {
                            return Made::Late(self.too_late(&now));
                        }
                    }
                    Err(error) => {
                        return Made::Late(format!(
                            "was deleted to be created anew, and it cannot be seen whether it is gone: {}",
                            chain(&error)
                        ));
                    }
                }
                pause = (pause * 2).min(self.options.poll_interval);
            }
            if Instant::now() >= deadline {
                return Made::No("others create and delete it again and again".to_owned());
            }
        }
    }

    fn tell_deletion(&self, work: &Work<'_>, name: &str) {
        let limit = self.options.terminating_timeout.as_secs();
        let place = match work.namespace {
            "" => String::new(),
            namespace => format!("{namespace}/"),
        };
        self.tell_wait(&format!(
            "{} {place}{name} to be gone, which is being deleted, for up to {limit}s",
            work.item.resource
        ));
    }

    fn too_late(&self, live: &RawItem) -> String {
        if self.is_cancelled() {
            return "was deleted to be created anew; cancelled while waiting for it to be gone"
                .to_owned();
        }
        let waited = self.options.terminating_timeout.as_secs();
        let tree = live.tree().ok();
        let finalizers = tree
            .as_ref()
            .map_or(&[][..], |t| t.array_at("/metadata/finalizers"));
        let names: Vec<&str> = finalizers.iter().filter_map(|f| f.as_str()).collect();
        let held = if names.is_empty() {
            String::new()
        } else {
            format!(", held by {}", names.join(", "))
        };
        format!("was deleted to be created anew, and is still there after {waited}s{held}")
    }

    /// Creates the object again that was there; says how that went.
    async fn put_back(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        live: &RawItem,
    ) -> String {
        let Ok(mut old) = live.tree() else {
            return "the one that was there cannot be put back".to_owned();
        };
        old.remove("", "status");
        let metadata = old.metadata_mut();
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "managedFields",
        ] {
            metadata.remove(field);
        }
        let (name, options) = (old.name().to_owned(), WriteOptions::default());
        let body = json_of(&old);
        match self
            .lasting
            .create(resource, work.namespace, &name, body, &options)
            .await
        {
            Ok(_) => {
                work.exists = true;
                "the one that was there has been put back".to_owned()
            }
            Err(error) => format!(
                "the one that was there cannot be put back either: {}",
                chain(&error)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_holds_other_things_is_never_replaced() {
        for (version, kind, expected) in [
            ("v1", "PersistentVolumeClaim", true),
            ("v1", "PersistentVolume", true),
            ("v1", "Namespace", true),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition", true),
            ("v1", "Secret", false),
            ("apps/v1", "Deployment", false),
            ("example.com/v1", "Namespace", false),
        ] {
            let item = ItemTree::new(json!({"apiVersion": version, "kind": kind})).unwrap();
            assert_eq!(
                never_replaced(&item).is_some(),
                expected,
                "{version} {kind}"
            );
        }
    }

    #[test]
    fn what_takes_others_with_it_is_never_replaced() {
        let retention = |when: &str| {
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
                "spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": when}}})
        };
        let finalized = |version: &str| json!({"apiVersion": version, "kind": "Thing", "metadata": {"finalizers": ["example.com/x"]}});
        let owned = |controller: bool| {
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"ownerReferences": [{"uid": "u", "controller": controller}]}})
        };
        for (item, expected) in [
            (retention("Delete"), true),
            (retention("Retain"), false),
            (finalized("kafka.example.com/v1"), true),
            (finalized("networking.k8s.io/v1"), false),
            (finalized("v1"), false),
            (owned(true), true),
            (owned(false), false),
        ] {
            let live = ItemTree::new(item.clone()).unwrap();
            assert_eq!(never_replaced(&live).is_some(), expected, "{item}");
        }
    }
}
