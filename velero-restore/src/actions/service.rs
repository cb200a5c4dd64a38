//! Addresses and ports that a cluster has chosen for a service.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::Value;
use velero_core::ItemTree;
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome, text,
};
use velero_core::api::Restore;

/// `velero.io/service`: cluster IPs are chosen anew, and node ports too unless somebody has set them.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServiceAction;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[async_trait]
impl RestoreItemAction for ServiceAction {
    fn name(&self) -> &str {
        "velero.io/service"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["services"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        cx: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        if item.str_at("/spec/clusterIP") != "None" {
            item.remove("/spec", "clusterIP");
            item.remove("/spec", "clusterIPs");
        }
        if cx.run.spec.preserve_node_ports != Some(true)
            && item.str_at("/spec/type") != "ExternalName"
        {
            drop_node_ports(&mut item);
            drop_health_check_port(&mut item);
        }
        Ok(RestoreOutcome::create(item))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}

/// The service as `kubectl apply` last sent it; `None` when there is no such annotation or it does not parse.
fn last_applied(item: &ItemTree) -> Option<Value> {
    serde_json::from_str(item.annotation(LAST_APPLIED)?).ok()
}

fn drop_node_ports(item: &mut ItemTree) {
    let chosen = match last_applied(item) {
        Some(applied) => Chosen::from_last_applied(&applied),
        None => Chosen::from_managed_fields(item),
    };
    if let Some(Value::Array(ports)) = item.at_mut("/spec/ports") {
        for port in ports.iter_mut().filter(|port| !chosen.has(port)) {
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
    }
}

/// The ports whose node port somebody has chosen.
enum Chosen {
    Applied {
        names: BTreeSet<String>,
        numbers: BTreeSet<i64>,
    },
    Managed {
        keys: Vec<Value>,
    },
}

impl Chosen {
    fn from_last_applied(applied: &Value) -> Self {
        let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        for port in applied
            .pointer("/spec/ports")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let Some(number) = port.get("nodePort").and_then(number).filter(|n| *n > 0) else {
                continue;
            };
            match port.get("name").and_then(Value::as_str) {
                Some(name) => {
                    names.insert(name.to_owned());
                }
                None => {
                    numbers.insert(number);
                }
            }
        }
        Self::Applied { names, numbers }
    }

    fn from_managed_fields(item: &ItemTree) -> Self {
        let ports = item
            .array_at("/metadata/managedFields")
            .iter()
            .filter_map(|e| e.pointer("/fieldsV1/f:spec/f:ports")?.as_object());
        let keys = ports
            .flatten()
            .filter(|(_, fields)| fields.get("f:nodePort").is_some())
            .filter_map(|(key, _)| serde_json::from_str(key.strip_prefix("k:")?).ok())
            .collect();
        Self::Managed { keys }
    }

    fn has(&self, port: &Value) -> bool {
        match self {
            Self::Applied { names, numbers } => match text(port, "name") {
                "" => port
                    .get("nodePort")
                    .and_then(number)
                    .is_some_and(|n| numbers.contains(&n)),
                name => names.contains(name),
            },
            Self::Managed { keys } => keys.iter().any(|key| {
                let protocol = |v: &Value| {
                    v.get("protocol")
                        .and_then(Value::as_str)
                        .unwrap_or("TCP")
                        .to_owned()
                };
                key.get("port") == port.get("port") && protocol(key) == protocol(port)
            }),
        }
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    }
}

fn drop_health_check_port(item: &mut ItemTree) {
    let local_balancer = item.str_at("/spec/type") == "LoadBalancer"
        && item.str_at("/spec/externalTrafficPolicy") == "Local";
    if !local_balancer
        || item
            .at("/spec/healthCheckNodePort")
            .and_then(Value::as_i64)
            .unwrap_or_default()
            == 0
    {
        return;
    }
    let applied = last_applied(item).is_some_and(|applied| {
        applied
            .pointer("/spec/healthCheckNodePort")
            .and_then(number)
            .is_some_and(|n| n != 0)
    });
    let managed = item
        .array_at("/metadata/managedFields")
        .iter()
        .any(|entry| {
            entry
                .pointer("/fieldsV1/f:spec/f:healthCheckNodePort")
                .is_some()
        });
    if !applied && !managed {
        item.remove("/spec", "healthCheckNodePort");
    }
}
