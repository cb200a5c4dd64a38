//! What is said of items whose kind the cluster does not serve as the archive has it.

use velero_core::{ApiResource, Catalog, GroupResource};

use crate::index::IndexedItem;

/// Why an item cannot be restored: nobody serves its kind as it is. Names what is served instead.
pub(crate) fn message(item: &IndexedItem<'_>, served: &Catalog) -> String {
    let resource = item.resource;
    if let Some(other) = served.get(resource) {
        if other.api_version() == item.api_version {
            let (version, kind) = (item.api_version, item.kind);
            return format!(
                "the cluster serves {resource} in {version} as the kind {}, not as {kind}",
                other.kind
            );
        }
        return format!(
            "the cluster serves {resource} as {}, not as {}",
            other.api_version(),
            item.api_version
        );
    }
    match elsewhere(resource, item.kind, served) {
        Some(other) => format!(
            "the cluster does not serve {resource} as {}; it serves {} as {}, which rules of a resource modifier can make of it",
            item.api_version,
            other.kind,
            other.api_version()
        ),
        None => {
            format!("the cluster does not serve {resource}, and no definition of it is restored")
        }
    }
}

/// The resource of another group that has the name and the kind: groups are left as APIs grow up.
fn elsewhere<'a>(
    resource: &GroupResource,
    kind: &str,
    served: &'a Catalog,
) -> Option<&'a ApiResource> {
    let mut same = served
        .preferred()
        .filter(|other| other.plural == resource.resource && other.kind == kind);
    let first = same.next();
    // Groups of different makers may have kinds of one name.
    first.filter(|_| same.next().is_none() && moved(&resource.group))
}

/// Whether a group is one of Kubernetes itself, whose kinds have moved to others.
fn moved(group: &str) -> bool {
    !group.contains('.') || group.ends_with(".k8s.io")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Facts, Location};
    use velero_core::plan::ItemId;

    fn served(version: &str, kind: &str, plural: &str) -> ApiResource {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        ApiResource {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            preferred: true,
            ..ApiResource::default()
        }
    }

    #[test]
    fn what_is_served_instead_is_named() {
        let catalog = Catalog::new(
            vec![
                served("batch/v1", "CronJob", "cronjobs"),
                served("networking.k8s.io/v1", "Ingress", "ingresses"),
                served("apps/v1", "Deployment", "deployments"),
                served("one.example.com/v1", "Thing", "things"),
                served("two.example.com/v1", "Thing", "things"),
                served("v1", "Event", "events"),
                served("events.k8s.io/v1", "Event", "events"),
            ],
            Vec::new(),
        );
        for (resource, version, kind, expected) in [
            (
                "cronjobs.batch",
                "batch/v1beta1",
                "CronJob",
                "serves cronjobs.batch as batch/v1, not as batch/v1beta1",
            ),
            (
                "cronjobs.batch",
                "batch/v1",
                "Other",
                "serves cronjobs.batch in batch/v1 as the kind CronJob, not as Other",
            ),
            (
                "ingresses.extensions",
                "extensions/v1beta1",
                "Ingress",
                "it serves Ingress as networking.k8s.io/v1",
            ),
            (
                "deployments.extensions",
                "extensions/v1beta1",
                "Deployment",
                "it serves Deployment as apps/v1",
            ),
            (
                "things.gone.example.com",
                "gone.example.com/v1",
                "Thing",
                "no definition of it is restored",
            ),
            (
                "deployments.example.com",
                "example.com/v1",
                "Deployment",
                "no definition of it is restored",
            ),
            (
                "events.old",
                "old/v1",
                "Event",
                "no definition of it is restored",
            ),
            (
                "ingresses.extensions",
                "extensions/v1beta1",
                "Other",
                "no definition of it is restored",
            ),
        ] {
            let resource = GroupResource::from(resource);
            let item = IndexedItem {
                id: ItemId(0),
                resource: &resource,
                namespace: "",
                name: "a",
                api_version: version,
                kind,
                facts: Facts::default(),
                location: Location::default(),
            };
            let told = message(&item, &catalog);
            assert!(told.contains(expected), "{told}");
        }
    }
}
