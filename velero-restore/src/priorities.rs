//! The order in which kinds are restored.

use std::collections::BTreeSet;
use std::str::FromStr;

use velero_core::{Catalog, GroupResource};

const HIGH: [&str; 23] = [
    "customresourcedefinitions",
    "namespaces",
    "storageclasses",
    "volumesnapshotclass.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
    "volumesnapshots.snapshot.storage.k8s.io",
    "datauploads.velero.io",
    "persistentvolumes",
    "persistentvolumeclaims",
    "clusterroles",
    "roles",
    "serviceaccounts",
    "clusterrolebindings",
    "rolebindings",
    "secrets",
    "configmaps",
    "limitranges",
    "priorityclasses",
    "pods",
    "replicasets.apps",
    "clusterclasses.cluster.x-k8s.io",
    "endpoints",
    "services",
];

const LOW: [&str; 5] = [
    "clusterbootstraps.run.tanzu.vmware.com",
    "clusters.cluster.x-k8s.io",
    "clusterresourcesets.addons.cluster.x-k8s.io",
    "apps.kappctrl.k14s.io",
    "packageinstalls.packaging.carvel.dev",
];

/// Kinds that refuse or redirect what comes after them, so that of the kinds which no list names they come last: what a
/// cluster needs to answer them is there by then. Those that only count or route come before those that refuse.
const LATE: [&str; 8] = [
    "apiservices.apiregistration.k8s.io",
    "resourcequotas",
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
];

/// Which kinds come first and which last. Mirrors upstream's `pkg/types/priority.go` and the server's defaults.
///
/// ```
/// use velero_restore::Priorities;
///
/// let order: Priorities = "namespaces,secrets,-,services".parse()?;
/// assert_eq!(order.high, ["namespaces", "secrets"]);
/// assert_eq!(order.low, ["services"]);
/// # Ok::<(), velero_restore::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priorities {
    /// Kinds that come first, in this order.
    pub high: Vec<String>,
    /// Kinds that come last, in this order.
    pub low: Vec<String>,
}

impl Default for Priorities {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Self {
            high: owned(&HIGH),
            low: owned(&LOW),
        }
    }
}

impl FromStr for Priorities {
    type Err = crate::Error;

    /// Reads the value of `--restore-resource-priorities`: names with commas between them, `-` between first and last.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut out = Self::default();
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let separators = parts.iter().filter(|p| **p == "-").count();
        if separators > 1 {
            let message = format!(
                "restore resource priorities {text:?} have {separators} separators \"-\"; at most one is right"
            );
            return Err(crate::Error::Invalid {
                messages: vec![message],
            });
        }
        let names = |list: &[&str]| -> Vec<String> {
            list.iter()
                .filter(|n| !n.is_empty())
                .map(|n| (*n).to_owned())
                .collect()
        };
        let at = parts.iter().position(|p| *p == "-").unwrap_or(parts.len());
        let (high, low) = (
            names(&parts[..at]),
            names(parts.get(at + 1..).unwrap_or_default()),
        );
        if !high.is_empty() {
            out.high = high;
        }
        if !low.is_empty() {
            out.low = low;
        }
        Ok(out)
    }
}

impl Priorities {
    /// Puts the kinds of an archive in order: first ones, all others sorted bytewise, last ones.
    ///
    /// Of the others, webhook configurations, admission policies and their bindings, APIServices and ResourceQuotas come
    /// at the end, where they cannot refuse the objects that they are made for; the peer has them in their places.
    /// Names are resolved by discovery and each kind comes once; names that do not resolve are kept as written.
    pub fn sequence<'a>(
        &self,
        archived: impl IntoIterator<Item = &'a GroupResource>,
        catalog: &Catalog,
    ) -> Vec<GroupResource> {
        let literal: BTreeSet<&str> = self
            .high
            .iter()
            .chain(&self.low)
            .map(String::as_str)
            .collect();
        let (late, middle): (BTreeSet<String>, BTreeSet<String>) = archived
            .into_iter()
            .map(GroupResource::to_string)
            .filter(|name| !literal.contains(name.as_str()))
            .partition(|name| LATE.contains(&name.as_str()));
        let late = LATE
            .iter()
            .filter(|name| late.contains(**name))
            .map(|name| (*name).to_owned());
        let low: BTreeSet<GroupResource> = self
            .low
            .iter()
            .map(|n| catalog.resolve_or_keep(n))
            .collect();
        let resolve = |name: &String| catalog.resolve_or_keep(name);
        let mut seen = BTreeSet::new();
        let first = self.high.iter().map(resolve);
        let rest = middle
            .into_iter()
            .chain(late)
            .map(|name| GroupResource::from(name.as_str()))
            .filter(|gr| !low.contains(gr));
        first
            .chain(rest)
            .chain(self.low.iter().map(resolve))
            .filter(|gr| seen.insert(gr.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use velero_core::ApiResource;

    #[test]
    fn flag_values() {
        let default = Priorities::default();
        for (text, high, low) in [
            ("", None, None),
            ("-", None, None),
            ("a,b", Some(&["a", "b"][..]), None),
            ("a,-", Some(&["a"]), None),
            ("-,z", None, Some(&["z"][..])),
            ("a,-,y,z", Some(&["a"]), Some(&["y", "z"])),
        ] {
            let got: Priorities = text.parse().unwrap();
            assert_eq!(
                got.high,
                high.map_or(default.high.clone(), |h| h
                    .iter()
                    .map(|s| (*s).to_owned())
                    .collect()),
                "{text}"
            );
            assert_eq!(
                got.low,
                low.map_or(default.low.clone(), |l| l
                    .iter()
                    .map(|s| (*s).to_owned())
                    .collect()),
                "{text}"
            );
        }
        assert!("a,-,b,-".parse::<Priorities>().is_err());
    }

    #[test]
    fn what_could_refuse_others_comes_last_of_the_rest() {
        let archived: Vec<GroupResource> = LATE
            .iter()
            .copied()
            .chain(["zebras.x", "deployments.apps", "apps.kappctrl.k14s.io"])
            .map(GroupResource::from)
            .collect();
        for (text, expected) in [
            (
                "",
                [
                    &["deployments.apps", "zebras.x"][..],
                    &LATE,
                    &["apps.kappctrl.k14s.io"],
                ]
                .concat(),
            ),
            // A kind that a list names stays where the list has it.
            (
                "resourcequotas,-,apiservices.apiregistration.k8s.io",
                [
                    &[
                        "resourcequotas",
                        "apps.kappctrl.k14s.io",
                        "deployments.apps",
                        "zebras.x",
                    ][..],
                    &LATE[2..],
                    &LATE[..1],
                ]
                .concat(),
            ),
        ] {
            let order: Priorities = text.parse().unwrap();
            let got: Vec<String> = order
                .sequence(&archived, &Catalog::default())
                .iter()
                .map(ToString::to_string)
                .filter(|name| archived.contains(&GroupResource::from(name.as_str())))
                .collect();
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn each_kind_comes_once() {
        let resource = |group: &str, plural: &str| ApiResource {
            group: group.into(),
            version: "v1".into(),
            plural: plural.into(),
            kind: plural.trim_end_matches('s').into(),
            preferred: true,
            ..ApiResource::default()
        };
        let catalog = Catalog::new(
            vec![
                resource("rbac.authorization.k8s.io", "roles"),
                resource("", "pods"),
                resource("", "services"),
            ],
            Vec::new(),
        );
        let order = Priorities {
            high: vec!["roles".into(), "pods".into()],
            low: vec!["services".into()],
        };
        let archived: Vec<GroupResource> = [
            "services",
            "roles.rbac.authorization.k8s.io",
            "zebras.x",
            "configmaps",
            "pods",
        ]
        .map(GroupResource::from)
        .into();
        let got: Vec<String> = order
            .sequence(&archived, &catalog)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            got,
            [
                "roles.rbac.authorization.k8s.io",
                "pods",
                "configmaps",
                "zebras.x",
                "services"
            ]
        );
    }
}
