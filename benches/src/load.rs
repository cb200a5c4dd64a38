//! What is written to the cluster: many equal ConfigMaps, or a mix of kinds.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::ValueEnum;
use k8s_openapi::{
    api::core::v1::Namespace,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, api::PostParams};
use serde_json::json;
use std::time::Duration;
use velero_e2e::eventually;

const MIXED_NAMESPACES: usize = 40;
const PLAIN_NAMESPACES: usize = 30;
/// Payload of a ConfigMap, in bytes; with the rest of the object about 1 KB.
const PAYLOAD: usize = 900;

/// Kinds of the mixed load, and how many of each a namespace holds.
const MIX: [(Kind, usize); 9] = [
    (Kind::ConfigMap, 50),
    (Kind::Secret, 25),
    (Kind::Widget, 20),
    (Kind::Service, 5),
    (Kind::Claim, 5),
    (Kind::Account, 3),
    (Kind::Role, 3),
    (Kind::RoleBinding, 3),
    (Kind::Deployment, 3),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    ConfigMap,
    Secret,
    Widget,
    Service,
    Claim,
    Account,
    Role,
    RoleBinding,
    Deployment,
}

/// How much to measure with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    /// 5,000 ConfigMaps of 1 KB in 30 namespaces.
    #[value(name = "5k")]
    Small,
    /// 10,000 ConfigMaps.
    #[value(name = "10k")]
    Ten,
    /// 15,000 ConfigMaps.
    #[value(name = "15k")]
    Medium,
    /// 100,000 ConfigMaps.
    #[value(name = "100k")]
    Large,
    /// 300,000 ConfigMaps: whether memory stays where it is.
    #[value(name = "300k")]
    Huge,
    /// 4,680 objects of nine kinds in 40 namespaces, with the controllers running: their pods have owners, claims and
    /// accounts.
    #[value(name = "mixed")]
    Mixed,
}

/// Where to POST one object, and its body.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) path: String,
    pub(crate) json: Vec<u8>,
}

impl Size {
    /// Name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "5k",
            Self::Ten => "10k",
            Self::Medium => "15k",
            Self::Large => "100k",
            Self::Huge => "300k",
            Self::Mixed => "mixed",
        }
    }

    /// Number of objects, without the namespaces and the CRD.
    pub(crate) fn objects(self) -> usize {
        match self {
            Self::Small => 5_000,
            Self::Ten => 10_000,
            Self::Medium => 15_000,
            Self::Large => 100_000,
            Self::Huge => 300_000,
            Self::Mixed => MIXED_NAMESPACES * per_namespace(),
        }
    }

    /// Number of pods that follow from the Deployments.
    pub(crate) fn pods(self) -> usize {
        let of_deployments = |(kind, count): &(Kind, usize)| {
            if matches!(kind, Kind::Deployment) {
                *count
            } else {
                0
            }
        };
        if self == Self::Mixed {
            MIXED_NAMESPACES * MIX.iter().map(of_deployments).sum::<usize>()
        } else {
            0
        }
    }

    fn namespaces(self) -> usize {
        if self == Self::Mixed {
            MIXED_NAMESPACES
        } else {
            PLAIN_NAMESPACES
        }
    }

    /// Creates the namespaces and, for the mix, the CRD.
    pub(crate) async fn prepare(self, client: &Client) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for n in 0..self.namespaces() {
            let object = serde_json::from_value(json!({"metadata": {"name": namespace(n)}}))?;
            namespaces
                .create(&PostParams::default(), &object)
                .await
                .context("cannot create a namespace")?;
        }
        if self == Self::Mixed {
            create_definition(client).await?;
        }
        Ok(())
    }

    /// Object number `n`, for `n` below [`Size::objects`].
    ///
    /// Neighbours lie in different namespaces, as they would with concurrent writers.
    pub(crate) fn body(self, n: usize) -> Body {
        let (space, n) = (namespace(n % self.namespaces()), n / self.namespaces());
        match self {
            Self::Mixed => mixed(&space, n),
            _ => body(Kind::ConfigMap, &space, n),
        }
    }
}

fn namespace(n: usize) -> String {
    format!("bench-{n:02}")
}

fn per_namespace() -> usize {
    MIX.iter().map(|(_, count)| count).sum()
}

fn mixed(space: &str, mut n: usize) -> Body {
    for (kind, count) in MIX {
        if n < count {
            return body(kind, space, n);
        }
        n -= count;
    }
    body(Kind::ConfigMap, space, n)
}

fn body(kind: Kind, space: &str, n: usize) -> Body {
    let (prefix, resource, json) = match kind {
        Kind::ConfigMap => ("api/v1", "configmaps", config_map(n)),
        Kind::Secret => ("api/v1", "secrets", secret(n)),
        Kind::Widget => ("apis/bench.example.com/v1", "widgets", widget(n)),
        Kind::Service => ("api/v1", "services", service(n)),
        Kind::Claim => ("api/v1", "persistentvolumeclaims", claim(n)),
        Kind::Account => (
            "api/v1",
            "serviceaccounts",
            plain("v1", "ServiceAccount", "account", n),
        ),
        Kind::Role => ("apis/rbac.authorization.k8s.io/v1", "roles", role(n)),
        Kind::RoleBinding => (
            "apis/rbac.authorization.k8s.io/v1",
            "rolebindings",
            role_binding(n),
        ),
        Kind::Deployment => ("apis/apps/v1", "deployments", deployment(n)),
    };
    Body {
        path: format!("/{prefix}/namespaces/{space}/{resource}?fieldManager=velero-benches"),
        json: json.into_bytes(),
    }
}

fn plain(version: &str, kind: &str, name: &str, n: usize) -> String {
    format!(r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{{"name":"{name}-{n:05}"}}}}"#)
}

fn config_map(n: usize) -> String {
    let filler = "the quick brown fox jumps over the lazy dog; ".repeat(PAYLOAD / 45);
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"map-{n:05}","labels":{{"app":"bench","tier":"t{}"}}}},"data":{{"number":"{n}","text":"{filler}"}}}}"#,
        n % 7
    )
}

fn secret(n: usize) -> String {
    let value = STANDARD.encode(format!("secret number {n} ").repeat(20));
    format!(
        r#"{{"apiVersion":"v1","kind":"Secret","type":"Opaque","metadata":{{"name":"secret-{n:05}"}},"data":{{"value":"{value}"}}}}"#
    )
}

fn widget(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"bench.example.com/v1","kind":"Widget","metadata":{{"name":"widget-{n:05}"}},"spec":{{"size":{n},"colour":"green","parts":["a","b","c"]}}}}"#
    )
}

fn service(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"service-{n:05}"}},"spec":{{"selector":{{"app":"app-{n}"}},"ports":[{{"name":"http","port":80,"targetPort":8080}}]}}}}"#
    )
}

fn claim(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{{"name":"claim-{n:05}"}},"spec":{{"accessModes":["ReadWriteOnce"],"resources":{{"requests":{{"storage":"1Gi"}}}}}}}}"#
    )
}

fn role(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{{"name":"role-{n:05}"}},"rules":[{{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}}]}}"#
    )
}

fn role_binding(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{{"name":"binding-{n:05}"}},"roleRef":{{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"role-{n:05}"}},"subjects":[{{"kind":"ServiceAccount","name":"account-{n:05}"}}]}}"#
    )
}

fn deployment(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"app-{n:05}"}},"spec":{{"replicas":1,"selector":{{"matchLabels":{{"app":"app-{n}"}}}},"template":{{"metadata":{{"labels":{{"app":"app-{n}"}}}},"spec":{{"serviceAccountName":"account-{n:05}","containers":[{{"name":"main","image":"app:1","volumeMounts":[{{"name":"data","mountPath":"/data"}}]}}],"volumes":[{{"name":"data","persistentVolumeClaim":{{"claimName":"claim-{n:05}"}}}}]}}}}}}}}"#
    )
}

async fn create_definition(client: &Client) -> Result<()> {
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": "widgets.bench.example.com"},
        "spec": {
            "group": "bench.example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "properties": {
                        "size": {"type": "integer"},
                        "colour": {"type": "string"},
                        "parts": {"type": "array", "items": {"type": "string"}},
                    }}},
                }},
            }],
        },
    }))?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .create(&PostParams::default(), &definition)
        .await
        .context("cannot create the CRD")?;
    eventually(
        "the CRD is Established",
        Duration::from_secs(30),
        || async {
            let status = definitions
                .get("widgets.bench.example.com")
                .await?
                .status
                .unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let done = conditions
                .iter()
                .any(|one| one.type_ == "Established" && one.status == "True");
            Ok(done.then_some(()))
        },
    )
    .await
}
