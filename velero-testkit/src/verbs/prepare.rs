//! From a request body to an object in the server's form.

use serde_json::Value;

use crate::protobuf::{self, Expected};
use crate::query::FieldValidation;
use crate::registry::Resource;
use crate::schema::{Problems, apply_defaults, normalise};
use crate::status::ApiError;
use crate::verbs::Request;

/// Parses a JSON, YAML or protobuf body; kinds without an expected type are never sent in protobuf.
pub(crate) fn parse(request: &Request, expected: Option<&Expected>) -> Result<Value, ApiError> {
    let kind = request
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    match kind {
        "" | "application/json" => serde_json::from_slice(&request.body).map_err(|e| {
            ApiError::bad_request(format!("the body of the request is no JSON object: {e}"))
        }),
        "application/yaml" | "application/apply-patch+yaml" => yaml(&request.body),
        other => match expected {
            Some(expected) if other == protobuf::MEDIA_TYPE => {
                protobuf::decode(&request.body, expected)
            }
            _ => {
                let accepted = ["application/json", "application/yaml", protobuf::MEDIA_TYPE];
                let accepted = &accepted[..if expected.is_some() { 3 } else { 2 }];
                Err(ApiError::unsupported_media_type(other, accepted))
            }
        },
    }
}

/// Parses the body of a request that holds an object of the resource's own kind.
pub(crate) fn parse_object(request: &Request) -> Result<Value, ApiError> {
    let resource = &request.resource;
    let root = resource.root.as_ref().filter(|_| resource.custom.is_none());
    let expected = root.map(|root| Expected {
        api_version: resource.api_version(),
        kind: resource.kind.clone(),
        ty: root.id,
        any_version: false,
    });
    let mut tree = parse(request, expected.as_ref())?;
    check_kind(&mut tree, &resource.api_version(), &resource.kind)?;
    Ok(tree)
}

/// Parses a body of another built-in kind, that of a subresource; `name` is its name in the table of types.
pub(crate) fn parse_as(
    request: &Request,
    api_version: &str,
    name: &str,
) -> Result<Value, ApiError> {
    let expected = Expected::named(api_version, name)
        .ok_or_else(|| ApiError::internal(format!("no type {name}")))?;
    let mut tree = parse(request, Some(&expected))?;
    check_kind(&mut tree, api_version, &expected.kind)?;
    Ok(tree)
}

/// Parses YAML (of which JSON is a part).
pub(crate) fn yaml(body: &[u8]) -> Result<Value, ApiError> {
    if body.first() == Some(&b'{')
        && let Ok(value) = serde_json::from_slice(body)
    {
        return Ok(value);
    }
    serde_saphyr::from_slice(body).map_err(|e| {
        ApiError::bad_request(format!(
            "error decoding YAML: {}",
            e.to_string().replace('\n', " ")
        ))
    })
}

/// Checks `apiVersion` and `kind` of a body; an object without them takes those of the path.
pub(crate) fn check_kind(tree: &mut Value, api_version: &str, kind: &str) -> Result<(), ApiError> {
    let Some(map) = tree.as_object_mut() else {
        return Err(ApiError::bad_request(
            "the body of the request is no JSON object",
        ));
    };
    let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or_default().to_owned();
    let given_version = text(map.get("apiVersion"));
    let given_kind = text(map.get("kind"));
    if !given_version.is_empty() && given_version != api_version {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({given_version}) does not match the expected API version ({api_version})"
        )));
    }
    if !given_kind.is_empty() && given_kind != kind {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        return Err(ApiError::bad_request(format!(
            "{given_kind} in version \"{version}\" cannot be handled as a {kind}: converting ({group}.{given_kind}) to ({group}.{kind}): unknown conversion"
        )));
    }
    map.insert("apiVersion".into(), api_version.into());
    map.insert("kind".into(), kind.into());
    Ok(())
}

/// Brings an object into the form of its kind; returns warnings for the client.
pub(crate) fn shape(
    resource: &Resource,
    tree: &mut Value,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    if resource.custom.is_some() {
        for key in ["apiVersion", "kind"] {
            if tree[key].as_str().is_none_or(str::is_empty) {
                return Err(ApiError::bad_request(format!("Object '{key}' is missing")));
            }
        }
    }
    let Some(root) = &resource.root else {
        return Ok(Vec::new());
    };
    let mut problems = Problems::default();
    normalise(&root.schema, root.id, tree, &mut problems);
    if let Some(first) = problems.mismatches.first() {
        return Err(mismatch(resource, tree, first));
    }
    let unknown: Vec<String> = problems
        .unknown
        .iter()
        .map(|path| format!("unknown field \"{path}\""))
        .collect();
    let mut warnings = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn => unknown,
        FieldValidation::Strict if unknown.is_empty() => Vec::new(),
        FieldValidation::Strict => {
            let text = format!("strict decoding error: {}", unknown.join(", "));
            let message = format!(
                "{} in version \"{}\" cannot be handled as a {}: {text}",
                resource.kind, resource.version, resource.kind
            );
            return Err(ApiError::bad_request(message));
        }
    };
    if resource.is("", "endpoints") {
        warnings.push(
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".into(),
        );
    }
    if resource.custom.is_some() {
        apply_defaults(&root.schema, root.id, tree);
    } else {
        crate::defaults::apply(resource, tree);
    }
    Ok(warnings)
}

fn mismatch(resource: &Resource, tree: &Value, what: &str) -> ApiError {
    if resource.custom.is_some() {
        let cause = crate::status::Cause {
            reason: "FieldValueTypeInvalid",
            message: format!("Invalid value: {what}"),
            field: "spec".into(),
        };
        return ApiError::invalid(
            &resource.kind,
            &resource.group,
            crate::objects::meta(tree, "name"),
            &[cause],
        );
    }
    ApiError::bad_request(format!(
        "{} in version \"{}\" cannot be handled as a {}: {what}",
        resource.kind, resource.version, resource.kind
    ))
}
