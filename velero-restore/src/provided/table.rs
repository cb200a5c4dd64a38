//! The closed table of what clusters provide.

/// Which namespaces or names a row is about.
#[derive(Debug)]
pub(super) enum Name {
    Any,
    /// Of a namespace: the objects that have none.
    None,
    Is(&'static str),
    OneOf(&'static [&'static str]),
}

/// What the maker leaves on an object.
#[derive(Debug)]
pub(super) enum Marker {
    Label(&'static str),
    LabelIs(&'static str, &'static str),
    AnnotationIs(&'static str, &'static str),
}

/// How the content is compared that is left to users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Field by field.
    Fields,
    /// A role: the cluster's must grant what the archive's does. Servers add what a newer version needs.
    Rules,
    /// A binding: the cluster's must bind whom the archive's does.
    Subjects,
    /// An account, which is merged.
    Account,
}

type Path = &'static [&'static str];

impl Rule {
    /// The fields that a rule of its own compares.
    pub(super) fn own(self) -> &'static [Path] {
        match self {
            Self::Fields | Self::Account => &[],
            Self::Rules => &[&["rules"]],
            Self::Subjects => &[&["subjects"]],
        }
    }
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// API group; the version does not matter.
    pub(super) group: &'static str,
    pub(super) kinds: &'static [&'static str],
    pub(super) namespace: Name,
    pub(super) name: Name,
    /// All of them are there.
    pub(super) markers: &'static [Marker],
    /// The fields that the maker writes.
    pub(super) own: &'static [Path],
    pub(super) rule: Rule,
    /// Whether the content holds in its own cluster only, so that it is of no use in another one.
    pub(super) local: bool,
}

const ROW: Row = Row {
    group: "",
    kinds: &[],
    namespace: Name::None,
    name: Name::Any,
    markers: &[],
    own: &[],
    rule: Rule::Fields,
    local: false,
};

const LABELS: Path = &["metadata", "labels"];
const ANNOTATIONS: Path = &["metadata", "annotations"];

/// What clusters provide.
///
/// | objects | known by | the maker writes |
/// |---|---|---|
/// | ConfigMap `kube-root-ca.crt` in each namespace | its name | data, description |
/// | ConfigMaps `extension-apiserver-authentication` and the tracker of legacy tokens in `kube-system` | their names | data |
/// | Service, Endpoints and EndpointSlice `default/kubernetes` | their names | addresses, ports, labels |
/// | Leases of API servers | label `apiserver.kubernetes.io/identity` | everything |
/// | Leases of the control plane in `kube-system`, of nodes in `kube-node-lease` | their names; the namespace | everything |
/// | roles and bindings of RBAC | label `kubernetes.io/bootstrapping`, annotation `autoupdate` | what a newer server needs more |
/// | FlowSchemas and PriorityLevelConfigurations | annotation `apf.kubernetes.io/autoupdate-spec` | spec |
/// | PriorityClasses `system-*-critical` | their names | everything |
/// | ServiceCIDR `kubernetes`; IPAddresses of Services | its name; label `ipaddress.kubernetes.io/managed-by` | spec |
/// | APIServices that servers register | label `kube-aggregator.kubernetes.io/automanaged` | spec |
/// | ServiceAccount `default` in each namespace, those of controllers in `kube-system` | their names | nothing: they are merged |
pub(super) const TABLE: &[Row] = &[
    Row {
        kinds: &["ConfigMap"],
        namespace: Name::Any,
        name: Name::Is("kube-root-ca.crt"),
        own: &[
            &["data"],
            &["metadata", "annotations", "kubernetes.io/description"],
        ],
        local: true,
        ..ROW
    },
    Row {
        kinds: &["ConfigMap"],
        namespace: Name::Is("kube-system"),
        name: Name::OneOf(&[
            "extension-apiserver-authentication",
            "kube-apiserver-legacy-service-account-token-tracking",
        ]),
        own: &[&["data"]],
        local: true,
        ..ROW
    },
    Row {
        kinds: &["Service"],
        namespace: Name::Is("default"),
        name: Name::Is("kubernetes"),
        own: &[
            &["spec"],
            &["metadata", "labels", "component"],
            &["metadata", "labels", "provider"],
        ],
        local: true,
        ..ROW
    },
    Row {
        kinds: &["Endpoints"],
        namespace: Name::Is("default"),
        name: Name::Is("kubernetes"),
        own: &[
            &["subsets"],
            &[
                "metadata",
                "labels",
                "endpointslice.kubernetes.io/skip-mirror",
            ],
        ],
        local: true,
        ..ROW
    },
    Row {
        group: "discovery.k8s.io",
        kinds: &["EndpointSlice"],
        namespace: Name::Is("default"),
        name: Name::Is("kubernetes"),
        own: &[
            &["addressType"],
            &["endpoints"],
            &["ports"],
            &["metadata", "labels", "kubernetes.io/service-name"],
        ],
        local: true,
        ..ROW
    },
    Row {
        group: "coordination.k8s.io",
        kinds: &["Lease"],
        namespace: Name::Is("kube-system"),
        markers: &[Marker::Label("apiserver.kubernetes.io/identity")],
        own: &[&["spec"], LABELS, ANNOTATIONS],
        local: true,
        ..ROW
    },
    Row {
        group: "coordination.k8s.io",
        kinds: &["Lease"],
        namespace: Name::Is("kube-system"),
        name: Name::OneOf(&[
            "cloud-controller-manager",
            "kube-controller-manager",
            "kube-scheduler",
        ]),
        own: &[&["spec"], LABELS, ANNOTATIONS],
        local: true,
        ..ROW
    },
    Row {
        group: "coordination.k8s.io",
        kinds: &["Lease"],
        namespace: Name::Is("kube-node-lease"),
        own: &[&["spec"], LABELS, ANNOTATIONS],
        local: true,
        ..ROW
    },
    Row {
        group: RBAC,
        kinds: &["ClusterRole", "Role"],
        namespace: Name::Any,
        markers: BOOTSTRAPPED,
        rule: Rule::Rules,
        ..ROW
    },
    Row {
        group: RBAC,
        kinds: &["ClusterRoleBinding", "RoleBinding"],
        namespace: Name::Any,
        markers: BOOTSTRAPPED,
        rule: Rule::Subjects,
        ..ROW
    },
    Row {
        group: "flowcontrol.apiserver.k8s.io",
        kinds: &["FlowSchema", "PriorityLevelConfiguration"],
        markers: &[Marker::AnnotationIs(
            "apf.kubernetes.io/autoupdate-spec",
            "true",
        )],
        own: &[&["spec"]],
        ..ROW
    },
    Row {
        group: "scheduling.k8s.io",
        kinds: &["PriorityClass"],
        name: Name::OneOf(&["system-cluster-critical", "system-node-critical"]),
        own: &[
            &["description"],
            &["globalDefault"],
            &["preemptionPolicy"],
            &["value"],
        ],
        ..ROW
    },
    Row {
        group: "networking.k8s.io",
        kinds: &["ServiceCIDR"],
        name: Name::Is("kubernetes"),
        own: &[&["spec"], &["metadata", "finalizers"]],
        local: true,
        ..ROW
    },
    Row {
        group: "networking.k8s.io",
        kinds: &["IPAddress"],
        markers: &[Marker::LabelIs(
            "ipaddress.kubernetes.io/managed-by",
            "ipallocator.k8s.io",
        )],
        own: &[&["spec"], LABELS],
        local: true,
        ..ROW
    },
    Row {
        group: "apiregistration.k8s.io",
        kinds: &["APIService"],
        markers: &[Marker::Label("kube-aggregator.kubernetes.io/automanaged")],
        own: &[&["spec"], LABELS],
        local: true,
        ..ROW
    },
    Row {
        kinds: &["ServiceAccount"],
        namespace: Name::Any,
        name: Name::Is("default"),
        rule: Rule::Account,
        ..ROW
    },
    Row {
        kinds: &["ServiceAccount"],
        namespace: Name::Is("kube-system"),
        name: Name::OneOf(CONTROLLERS),
        rule: Rule::Account,
        ..ROW
    },
];

const RBAC: &str = "rbac.authorization.k8s.io";

/// What API servers leave on the roles and bindings that they keep up to date.
const BOOTSTRAPPED: &[Marker] = &[
    Marker::LabelIs("kubernetes.io/bootstrapping", "rbac-defaults"),
    Marker::AnnotationIs("rbac.authorization.kubernetes.io/autoupdate", "true"),
];

/// The controllers of Kubernetes that have an account of their own.
const CONTROLLERS: &[&str] = &[
    "attachdetach-controller",
    "bootstrap-signer",
    "certificate-controller",
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "device-taint-eviction-controller",
    "disruption-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "endpointslicemirroring-controller",
    "ephemeral-volume-controller",
    "expand-controller",
    "generic-garbage-collector",
    "horizontal-pod-autoscaler",
    "job-controller",
    "legacy-service-account-token-cleaner",
    "namespace-controller",
    "node-controller",
    "persistent-volume-binder",
    "pod-garbage-collector",
    "pv-protection-controller",
    "pvc-protection-controller",
    "replicaset-controller",
    "replication-controller",
    "resource-claim-controller",
    "resourcequota-controller",
    "root-ca-cert-publisher",
    "route-controller",
    "selinux-warning-controller",
    "service-account-controller",
    "service-cidrs-controller",
    "service-controller",
    "statefulset-controller",
    "storage-version-migrator-controller",
    "token-cleaner",
    "ttl-after-finished-controller",
    "ttl-controller",
    "validatingadmissionpolicy-status-controller",
    "volumeattributesclass-protection-controller",
];
