//! The rights of an operator that may not do everything: to read, or to read and write, the kinds that it is given.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::core::ObjectMeta;
use serde_json::Value;
use velero_core::GroupResource;
use velero_core::names::{DEFAULT_NAMESPACE, labels};

/// The operator's account, its roles and their bindings.
const NAME: &str = "velero";

const RBAC: &str = "rbac.authorization.k8s.io";

const READ: &[&str] = &["get", "list"];
const WRITE: &[&str] = &["create", "delete", "patch", "update"];

/// What is read to back up a kind, whether it is asked for or not: who is bound to an account, which volumes a claim has and
/// which pods use it.
const READ_FOR: &[(&str, &[&str])] = &[
    (
        "serviceaccounts",
        &[
            "clusterrolebindings.rbac.authorization.k8s.io",
            "clusterroles.rbac.authorization.k8s.io",
        ],
    ),
    ("pods", &["persistentvolumeclaims", "persistentvolumes"]),
    ("persistentvolumeclaims", &["persistentvolumes", "pods"]),
];

/// What an operator is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Rights {
    /// Backups alone: it reads
    Backup,
    /// Backups and restores: it writes as well
    Restore,
}

/// The account of an operator with what it may do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Account {
    pub(super) account: ServiceAccount,
    /// What it may do with items, everywhere.
    pub(super) items: ClusterRole,
    pub(super) items_binding: ClusterRoleBinding,
    /// What it may do in its own namespace.
    pub(super) own: Role,
    pub(super) own_binding: RoleBinding,
}

impl Account {
    /// The account of an operator in a namespace. Without kinds it is all kinds.
    pub(super) fn new(namespace: &str, rights: Rights, kinds: &[GroupResource]) -> Self {
        let subjects = Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: NAME.to_owned(),
            namespace: Some(namespace.to_owned()),
            api_group: None,
        }]);
        // As the peer names its own, so that there can be an operator in each of several namespaces.
        let of_all = match namespace {
            DEFAULT_NAMESPACE => NAME.to_owned(),
            other => format!("{NAME}-{other}"),
        };
        let role = |kind: &str, name: &str| RoleRef {
            api_group: RBAC.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        let of_cluster = || metadata(&of_all, None);
        let of_namespace = || metadata(NAME, Some(namespace));
        Self {
            account: ServiceAccount {
                metadata: of_namespace(),
                ..ServiceAccount::default()
            },
            items: ClusterRole {
                metadata: of_cluster(),
                rules: Some(item_rules(rights, kinds)),
                aggregation_rule: None,
            },
            items_binding: ClusterRoleBinding {
                metadata: of_cluster(),
                role_ref: role("ClusterRole", &of_all),
                subjects: subjects.clone(),
            },
            own: Role {
                metadata: of_namespace(),
                rules: Some(own_rules()),
            },
            own_binding: RoleBinding {
                metadata: of_namespace(),
                role_ref: role("Role", NAME),
                subjects,
            },
        }
    }

    /// The objects as they are sent.
    pub(super) fn to_values(&self) -> serde_json::Result<Vec<Value>> {
        [
            serde_json::to_value(&self.account),
            serde_json::to_value(&self.items),
            serde_json::to_value(&self.items_binding),
            serde_json::to_value(&self.own),
            serde_json::to_value(&self.own_binding),
        ]
        .into_iter()
        .collect()
    }
}

fn metadata(name: &str, namespace: Option<&str>) -> ObjectMeta {
    let label = (
        labels::COMPONENT.to_owned(),
        labels::COMPONENT_VELERO.to_owned(),
    );
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: Some([label].into()),
        ..ObjectMeta::default()
    }
}

/// What the operator may do with what it backs up and restores.
fn item_rules(rights: Rights, kinds: &[GroupResource]) -> Vec<PolicyRule> {
    let verbs = match rights {
        Rights::Backup => READ.to_vec(),
        Rights::Restore => [READ, WRITE].concat(),
    };
    // Which namespaces there are is asked in every run, and what a kind is like.
    let mut rules = vec![
        rule(&[""], &["namespaces"], READ),
        rule(
            &["apiextensions.k8s.io"],
            &["customresourcedefinitions"],
            READ,
        ),
    ];
    if kinds.is_empty() {
        rules.push(rule(&["*"], &["*"], &verbs));
    }
    for (group, resources) in by_group(kinds) {
        rules.push(rule(&[group], &resources, &verbs));
        if rights == Rights::Restore {
            let status: Vec<String> = resources.iter().map(|r| format!("{r}/status")).collect();
            let status: Vec<&str> = status.iter().map(String::as_str).collect();
            rules.push(rule(&[group], &status, &["patch", "update"]));
        }
    }
    for (group, resources) in by_group(&read_for(kinds)) {
        rules.push(rule(&[group], &resources, READ));
    }
    let has = |resource: GroupResource| kinds.is_empty() || kinds.contains(&resource);
    if has(GroupResource::core("pods")) {
        // Commands of hooks: the API server asks for `create`, and for `get` as well where they come by WebSocket.
        rules.push(rule(&[""], &["pods/exec"], &["create", "get"]));
    }
    if rights == Rights::Restore {
        rules.extend(restore_rules(&has));
    }
    rules
}

/// What a restore does beside writing the kinds that it is given.
fn restore_rules(has: &dyn Fn(GroupResource) -> bool) -> Vec<PolicyRule> {
    let mut rules = vec![
        // Namespaces of items come with them.
        rule(&[""], &["namespaces"], &["create", "patch"]),
        // Nothing is changed where another Velero lives.
        rule(&["velero.io"], &["backupstoragelocations"], &["list"]),
    ];
    if has(GroupResource::core("pods")) {
        // Hooks wait until their pods run.
        rules.push(rule(&[""], &["pods"], &["watch"]));
    }
    if has(GroupResource::core("persistentvolumeclaims")) {
        // What the old volume of a claim was labelled with, the new one gets.
        rules.push(rule(&[""], &["persistentvolumes"], &["patch"]));
    }
    let roles: Vec<&str> = ["clusterroles", "roles"]
        .into_iter()
        .filter(|resource| has(GroupResource::new(RBAC, *resource)))
        .collect();
    if !roles.is_empty() {
        // Roles that hold more rights than the operator has.
        rules.push(rule(&[RBAC], &roles, &["bind", "escalate"]));
    }
    rules
}

/// What is read for some kinds and is not among them.
fn read_for(kinds: &[GroupResource]) -> Vec<GroupResource> {
    let needed = READ_FOR
        .iter()
        .filter(|(kind, _)| kinds.contains(&GroupResource::from(*kind)))
        .flat_map(|(_, others)| others.iter().map(|other| GroupResource::from(*other)));
    needed.filter(|other| !kinds.contains(other)).collect()
}

/// What the operator may do in its own namespace, whatever it is for.
fn own_rules() -> Vec<PolicyRule> {
    vec![
        rule(
            &["velero.io"],
            &["*"],
            &[
                "create", "delete", "get", "list", "patch", "update", "watch",
            ],
        ),
        // Credentials and certificates of locations.
        rule(&[""], &["secrets"], &["get"]),
        // Policies, modifiers and settings of actions; journals of restores whose store takes nothing.
        rule(
            &[""],
            &["configmaps"],
            &["create", "delete", "get", "list", "patch", "update"],
        ),
        rule(
            &["coordination.k8s.io"],
            &["leases"],
            &["create", "delete", "get", "patch", "update"],
        ),
        rule(&["events.k8s.io"], &["events"], &["create"]),
        // The way to files of stores that cannot be reached, while somebody wants it.
        rule(&[""], &["pods"], &["get"]),
        rule(
            &[""],
            &["endpoints", "services"],
            &["create", "delete", "patch"],
        ),
    ]
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    PolicyRule {
        api_groups: Some(owned(groups)),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

fn by_group(kinds: &[GroupResource]) -> BTreeMap<&str, Vec<&str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in kinds {
        let resources = groups.entry(&kind.group).or_default();
        if !resources.contains(&kind.resource.as_str()) {
            resources.push(&kind.resource);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules as lines: groups, resources, verbs.
    fn lines(rules: &[PolicyRule]) -> Vec<String> {
        let line = |rule: &PolicyRule| {
            let part = |list: &Option<Vec<String>>| list.clone().unwrap_or_default().join(",");
            format!(
                "{:?} {} {}",
                part(&rule.api_groups),
                part(&rule.resources),
                rule.verbs.join(",")
            )
        };
        rules.iter().map(line).collect()
    }

    #[test]
    fn a_backup_of_given_kinds_reads_them_and_nothing_else() {
        let kinds = ["configmaps", "deployments.apps", "secrets", "configmaps"];
        let kinds = kinds.map(|kind| kind.parse().unwrap());
        assert_eq!(
            lines(&item_rules(Rights::Backup, &kinds)),
            [
                "\"\" namespaces get,list",
                "\"apiextensions.k8s.io\" customresourcedefinitions get,list",
                "\"\" configmaps,secrets get,list",
                "\"apps\" deployments get,list",
            ]
        );
    }

    #[test]
    fn restores_write_and_what_a_kind_needs_beside_itself_comes_with_it() {
        let kinds = ["pods", "roles.rbac.authorization.k8s.io"];
        let kinds = kinds.map(|kind| kind.parse().unwrap());
        assert_eq!(
            lines(&item_rules(Rights::Restore, &kinds))[2..],
            [
                "\"\" pods get,list,create,delete,patch,update",
                "\"\" pods/status patch,update",
                "\"rbac.authorization.k8s.io\" roles get,list,create,delete,patch,update",
                "\"rbac.authorization.k8s.io\" roles/status patch,update",
                "\"\" persistentvolumeclaims,persistentvolumes get,list",
                "\"\" pods/exec create,get",
                "\"\" namespaces create,patch",
                "\"velero.io\" backupstoragelocations list",
                "\"\" pods watch",
                "\"rbac.authorization.k8s.io\" roles bind,escalate",
            ]
        );
    }

    #[test]
    fn without_kinds_it_is_all_of_them() {
        assert_eq!(
            lines(&item_rules(Rights::Backup, &[]))[2..],
            ["\"*\" * get,list", "\"\" pods/exec create,get"]
        );
    }

    #[test]
    fn the_account_is_that_of_the_namespace() {
        let account = Account::new("backups", Rights::Backup, &[]);
        assert_eq!(account.own.metadata.namespace.as_deref(), Some("backups"));
        assert_eq!(
            account.items.metadata.name.as_deref(),
            Some("velero-backups")
        );
        assert_eq!(account.items_binding.role_ref.name, "velero-backups");
        assert_eq!(account.own_binding.role_ref.name, "velero");
        for subject in [
            account.items_binding.subjects.unwrap().remove(0),
            account.own_binding.subjects.unwrap().remove(0),
        ] {
            assert_eq!(subject.namespace.as_deref(), Some("backups"));
            assert_eq!(Some(subject.name), account.account.metadata.name);
        }
    }
}
