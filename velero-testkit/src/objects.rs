//! Reading and checking what every object has.

use serde_json::Value;

use crate::registry::Resource;
use crate::status::Cause;

/// `metadata.KEY` as text, empty when absent.
pub(crate) fn meta<'a>(tree: &'a Value, key: &str) -> &'a str {
    tree["metadata"][key].as_str().unwrap_or_default()
}

/// Sets `metadata.KEY`; an object without metadata gets it.
pub(crate) fn set_meta(tree: &mut Value, key: &str, value: impl Into<Value>) {
    if !tree["metadata"].is_object() {
        tree["metadata"] = Value::Object(serde_json::Map::new());
    }
    tree["metadata"][key] = value.into();
}

/// Removes `metadata.KEY`.
pub(crate) fn clear_meta(tree: &mut Value, key: &str) {
    if let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove(key);
    }
}

/// Removes a field of the object itself.
pub(crate) fn remove(tree: &mut Value, key: &str) -> Option<Value> {
    tree.as_object_mut().and_then(|map| map.remove(key))
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

fn is_label(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// What is wrong with the name of a new object.
pub(crate) fn name_causes(resource: &Resource, name: &str) -> Vec<Cause> {
    let value = Value::from(name);
    let field = "metadata.name";
    let mut causes = Vec::new();
    let too_long = |max: usize| Cause {
        reason: "FieldValueTooLong",
        message: format!("Too long: may not be more than {max} bytes"),
        field: field.into(),
    };
    if resource.group == "rbac.authorization.k8s.io" {
        if name.contains('/') || name.contains('%') || name == "." || name == ".." {
            causes.push(Cause::invalid(field, &value, "may not contain '/' or '%'"));
        }
        return causes;
    }
    let (valid, max, rule) = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => (is_label(name), 63, LABEL),
        ("", "services") => (is_label(name), 63, LABEL),
        ("networking.k8s.io", "ipaddresses") => (!name.is_empty(), 253, SUBDOMAIN),
        _ => (is_subdomain(name), 253, SUBDOMAIN),
    };
    if !valid {
        causes.push(Cause::invalid(field, &value, rule));
    }
    if name.len() > max {
        causes.push(too_long(max));
    }
    causes
}

fn qualified_name(key: &str) -> bool {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(p, n)| (Some(p), n));
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edges = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphanumeric())
            && s.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    prefix.is_none_or(is_subdomain)
        && !name.is_empty()
        && name.len() <= 63
        && name.chars().all(ok)
        && edges(name)
}

/// What is wrong with labels, annotations, owner references and finalizers.
pub(crate) fn metadata_causes(tree: &Value) -> Vec<Cause> {
    let metadata = &tree["metadata"];
    let mut causes = label_causes(&metadata["labels"]);
    let annotations = metadata["annotations"].as_object().into_iter().flatten();
    let size: usize = annotations
        .map(|(k, v)| k.len() + v.as_str().unwrap_or_default().len())
        .sum();
    if size > 256 * 1024 {
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message: "Too long: may not be more than 262144 bytes".into(),
            field: "metadata.annotations".into(),
        });
    }
    causes.extend(owner_causes(&metadata["ownerReferences"]));
    let finalizers = metadata["finalizers"].as_array().into_iter().flatten();
    for (index, finalizer) in finalizers.enumerate() {
        if !qualified_name(finalizer.as_str().unwrap_or_default()) {
            let why = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
            let field = format!("metadata.finalizers[{index}]");
            causes.push(Cause::invalid(field, finalizer, why));
        }
    }
    causes
}

fn label_causes(labels: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        if !qualified_name(key) {
            let why = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
            let key = Value::from(key.as_str());
            causes.push(Cause::invalid("metadata.labels", &key, why));
        }
        let text = value.as_str().unwrap_or_default();
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
        if text.len() > 63
            || !text.chars().all(ok)
            || !edge(text.chars().next())
            || !edge(text.chars().last())
        {
            let why = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
            causes.push(Cause::invalid("metadata.labels", value, why));
        }
    }
    causes
}

fn owner_causes(owners: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, owner) in owners.as_array().into_iter().flatten().enumerate() {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if owner[key].as_str().is_none_or(str::is_empty) {
                let field = format!("metadata.ownerReferences[{index}].{key}");
                let why = format!("{key} must not be empty");
                causes.push(Cause::invalid(field, &Value::from(""), &why));
            }
        }
    }
    causes
}
