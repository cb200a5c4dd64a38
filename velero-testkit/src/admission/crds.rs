//! Definitions of custom resources.

use serde_json::{Value, json};

use crate::objects::meta;
use crate::status::{ApiError, Cause};
use crate::store::State;

/// Checks a definition and, unless that is scripted to come later, establishes it.
pub(crate) fn on_write(old: Option<&Value>, tree: &mut Value) -> Result<(), ApiError> {
    let name = meta(tree, "name").to_owned();
    let causes = check(&name, tree);
    if !causes.is_empty() {
        return Err(ApiError::invalid(
            "CustomResourceDefinition",
            "apiextensions.k8s.io",
            &name,
            &causes,
        ));
    }
    complete(tree);
    if let Some(old) = old {
        if old["metadata"]["deletionTimestamp"].is_string() {
            return Ok(());
        }
        if established(old) {
            let mut status = old["status"].clone();
            status["acceptedNames"] = tree["spec"]["names"].clone();
            tree["status"] = status;
        }
        return Ok(());
    }
    tree["status"] = json!({
        "conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored(tree),
    });
    Ok(())
}

/// Whether the resources of a definition are served.
pub(crate) fn established(tree: &Value) -> bool {
    let conditions = tree["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Established" && c["status"] == "True")
}

/// Writes the status of a definition whose names are accepted.
pub(crate) fn establish(state: &State, tree: &mut Value, now: &str) {
    let group = &tree["spec"]["group"];
    let kind = tree["spec"]["names"]["kind"].as_str().unwrap_or_default();
    let plural = tree["spec"]["names"]["plural"].as_str().unwrap_or_default();
    let taken = state
        .registry
        .all()
        .iter()
        .any(|r| r.group.as_str() == group && r.kind == kind && r.plural != plural);
    let condition = |kind: &str, status: bool, reason: &str, message: &str| {
        json!({
            "type": kind, "status": if status { "True" } else { "False" }, "lastTransitionTime": now,
            "reason": reason, "message": message,
        })
    };
    let conditions = if taken {
        json!([
            condition(
                "NamesAccepted",
                false,
                "KindConflict",
                &format!("\"{kind}\" is already in use")
            ),
            condition(
                "Established",
                false,
                "NotAccepted",
                "not all names are accepted"
            ),
        ])
    } else {
        json!([
            condition("NamesAccepted", true, "NoConflicts", "no conflicts found"),
            condition(
                "Established",
                true,
                "InitialNamesAccepted",
                "the initial names have been accepted"
            ),
        ])
    };
    let names = if taken {
        json!({"plural": "", "kind": ""})
    } else {
        tree["spec"]["names"].clone()
    };
    tree["status"] =
        json!({"conditions": conditions, "acceptedNames": names, "storedVersions": stored(tree)});
}

fn stored(tree: &Value) -> Value {
    let versions = tree["spec"]["versions"].as_array().into_iter().flatten();
    versions
        .filter(|v| v["storage"] == Value::Bool(true))
        .map(|v| v["name"].clone())
        .collect()
}

/// Fills names and conversion.
fn complete(tree: &mut Value) {
    let names = &mut tree["spec"]["names"];
    let kind = names["kind"].as_str().unwrap_or_default().to_owned();
    if names["singular"].as_str().is_none_or(str::is_empty) {
        names["singular"] = kind.to_lowercase().into();
    }
    if names["listKind"].as_str().is_none_or(str::is_empty) {
        names["listKind"] = format!("{kind}List").into();
    }
    if tree["spec"]["conversion"].is_null() {
        tree["spec"]["conversion"] = json!({"strategy": "None"});
    }
}

fn check(name: &str, tree: &Value) -> Vec<Cause> {
    let spec = &tree["spec"];
    let mut causes = Vec::new();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let expected = format!(
        "{}.{}",
        text(&spec["names"]["plural"]),
        text(&spec["group"])
    );
    if name != expected {
        let why = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &Value::from(name), why));
    }
    if !matches!(spec["scope"].as_str(), Some("Namespaced" | "Cluster")) {
        causes.push(Cause::unsupported(
            "spec.scope",
            &spec["scope"],
            &["Cluster", "Namespaced"],
        ));
    }
    if text(&spec["names"]["kind"]).is_empty() {
        causes.push(Cause::required("spec.names.kind", ""));
    }
    let versions = spec["versions"].as_array().cloned().unwrap_or_default();
    if versions
        .iter()
        .filter(|v| v["storage"] == Value::Bool(true))
        .count()
        != 1
    {
        let why = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &json!(versions.len()), why));
    }
    for (index, version) in versions.iter().enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
            causes.push(Cause::required(field, "schemas are required"));
        }
    }
    causes
}
