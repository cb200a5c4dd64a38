//! Cluster IPs, IP families and node ports.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::objects::meta;
use crate::status::{ApiError, Cause};
use crate::store::{Allocations, State};

/// Gives a Service its addresses and ports, keeping those of `old`.
pub(crate) fn assign(
    state: &mut State,
    old: Option<&Value>,
    tree: &mut Value,
) -> Result<(), ApiError> {
    let key = crate::store::key(Some(meta(tree, "namespace")), meta(tree, "name"));
    let kind = tree["spec"]["type"]
        .as_str()
        .unwrap_or("ClusterIP")
        .to_owned();
    if let Some(old) = old {
        keep(old, tree, &kind);
    }
    let name = meta(tree, "name").to_owned();
    let refuse = |cause: Cause| ApiError::invalid("Service", "", &name, &[cause]);
    if tree["spec"]["ports"].as_array().is_none_or(Vec::is_empty) && kind != "ExternalName" {
        let headless = tree["spec"]["clusterIP"] == "None";
        if !headless {
            return Err(refuse(Cause::required("spec.ports", "")));
        }
    }
    if kind == "ExternalName" {
        return Ok(());
    }
    addresses(&mut state.allocations, &key, tree).map_err(refuse)?;
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        && tree["spec"]["allocateLoadBalancerNodePorts"] != Value::Bool(false)
    {
        ports(&mut state.allocations, &key, tree).map_err(refuse)?;
    }
    if kind == "LoadBalancer"
        && tree["spec"]["externalTrafficPolicy"] == "Local"
        && tree["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0) == 0
        && let Some(port) = state.allocations.free_port(&BTreeSet::new())
    {
        tree["spec"]["healthCheckNodePort"] = port.into();
    }
    Ok(())
}

/// A change that says nothing about addresses and ports keeps them.
fn keep(old: &Value, tree: &mut Value, kind: &str) {
    if kind == "ExternalName" {
        return;
    }
    for field in [
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "ipFamilyPolicy",
        "healthCheckNodePort",
    ] {
        let absent = match &tree["spec"][field] {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        if absent && let Some(value) = old["spec"].get(field) {
            tree["spec"][field] = value.clone();
        }
    }
    if !matches!(kind, "NodePort" | "LoadBalancer") {
        return;
    }
    let before: Vec<Value> = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let listed = tree
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut);
    for port in listed.into_iter().flatten() {
        if port["nodePort"].as_u64().unwrap_or(0) != 0 {
            continue;
        }
        let same = before
            .iter()
            .find(|b| b["port"] == port["port"] && b["protocol"] == port["protocol"]);
        if let Some(node_port) = same.and_then(|b| b.get("nodePort")) {
            port["nodePort"] = node_port.clone();
        }
    }
}

fn addresses(allocations: &mut Allocations, key: &str, tree: &mut Value) -> Result<(), Cause> {
    let given = tree["spec"]["clusterIP"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let first = tree["spec"]["clusterIPs"][0]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let given = if given.is_empty() { first } else { given };
    if given == "None" {
        let spec = &mut tree["spec"];
        spec["clusterIP"] = "None".into();
        spec["clusterIPs"] = json!(["None"]);
        families(spec);
        return Ok(());
    }
    let ip = if given.is_empty() {
        allocations.free_ip().ok_or_else(|| Cause {
            reason: "InternalError",
            message: "failed to allocate a serviceIP: range is full".into(),
            field: "spec.clusterIPs".into(),
        })?
    } else {
        let value = json!([given]);
        if given.parse::<std::net::IpAddr>().is_err() {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            return Err(Cause::invalid(
                "spec.clusterIPs[0]",
                &Value::from(given.as_str()),
                why,
            ));
        }
        if allocations.ip_taken(&given, key) {
            let why = format!("failed to allocate IP {given}: provided IP is already allocated");
            return Err(Cause::invalid("spec.clusterIPs", &value, &why));
        }
        if !given.starts_with("10.0.") && !given.contains(':') {
            let why = format!(
                "failed to allocate IP {given}: the provided IP ({given}) is not in the valid range. The range of valid IPs is 10.0.0.0/16"
            );
            return Err(Cause::invalid("spec.clusterIPs", &value, &why));
        }
        given
    };
    let spec = &mut tree["spec"];
    spec["clusterIP"] = ip.clone().into();
    spec["clusterIPs"] = json!([ip]);
    families(spec);
    Ok(())
}

fn families(spec: &mut Value) {
    if spec["ipFamilies"].as_array().is_none_or(Vec::is_empty) {
        let v6 = spec["clusterIP"]
            .as_str()
            .is_some_and(|ip| ip.contains(':'));
        spec["ipFamilies"] = if v6 { json!(["IPv6"]) } else { json!(["IPv4"]) };
    }
    if spec["ipFamilyPolicy"].is_null() {
        spec["ipFamilyPolicy"] = "SingleStack".into();
    }
}

fn ports(allocations: &mut Allocations, key: &str, tree: &mut Value) -> Result<(), Cause> {
    let mut taken: BTreeSet<u16> = BTreeSet::new();
    let listed = tree
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut);
    for (index, port) in listed.into_iter().flatten().enumerate() {
        let field = format!("spec.ports[{index}].nodePort");
        let given = port["nodePort"].as_u64().unwrap_or(0);
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
        if given == 0 {
            let free = allocations.free_port(&taken).ok_or_else(|| Cause {
                reason: "InternalError",
                message: "failed to allocate a nodePort: range is full".into(),
                field,
            })?;
            taken.insert(free);
            port["nodePort"] = free.into();
            continue;
        }
        let value = Value::from(given);
        let Some(wanted) = u16::try_from(given)
            .ok()
            .filter(|p| Allocations::in_range(*p))
        else {
            let why =
                "provided port is not in the valid range. The range of valid ports is 30000-32767";
            return Err(Cause::invalid(field, &value, why));
        };
        if allocations.port_taken(wanted, &protocol, key) {
            return Err(Cause::invalid(
                field,
                &value,
                "provided port is already allocated",
            ));
        }
        taken.insert(wanted);
    }
    Ok(())
}
