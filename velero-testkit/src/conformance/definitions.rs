//! Custom resources.

use http::Method;
use serde_json::{Value, json};

use super::cx::PatchKind;
use super::{Cx, Failure, ensure, same, suite};

suite!(
    definitions_are_established,
    definitions_are_discovered,
    definitions_need_matching_names,
    custom_resources_are_pruned_and_defaulted,
    custom_resources_are_validated,
    custom_resources_need_a_version_to_be_updated,
    custom_resources_have_no_strategic_patches,
    custom_resources_have_generations,
    custom_resources_have_a_status,
    custom_resources_own_items_by_key,
    custom_resources_in_lists_have_a_kind,
    custom_resources_have_versions,
    custom_resources_have_columns,
    custom_resources_go_with_their_definition,
);

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

pub(super) struct Defined {
    cx: Cx,
    pub(super) group: String,
    name: String,
    pub(super) path: String,
}

impl Defined {
    /// Defines `gadgets` in a group of this check.
    pub(super) async fn new(cx: &Cx) -> Result<Self, Failure> {
        let group = format!("{}.example.io", cx.namespace);
        let name = format!("gadgets.{group}");
        cx.create(CRDS, definition(&group)).await?;
        let path = cx.path(&format!("/apis/{group}/v1"), "gadgets");
        let crd = format!("{CRDS}/{name}");
        cx.until("the definition", || async {
            let found = cx.get(&crd).await?;
            let conditions = found["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let established = conditions
                .iter()
                .any(|c| c["type"] == "Established" && c["status"] == "True");
            Ok(established && cx.try_get(&path).await?.is_some())
        })
        .await?;
        // A real server may answer a first write with 404 while its storage starts.
        let probe = format!("{path}?dryRun=All");
        let body = json!({"apiVersion": format!("{group}/v1"), "kind": "Gadget", "metadata": {"name": "probe"}});
        cx.until("storage of the definition", || async {
            Ok(cx.send(Method::POST, &probe, &[], Some(&body)).await?.0 == 201)
        })
        .await?;
        Ok(Self {
            cx: cx.clone(),
            group,
            name,
            path,
        })
    }

    pub(super) fn gadget(&self, spec: Value) -> Value {
        json!({
            "apiVersion": format!("{}/v1", self.group), "kind": "Gadget", "metadata": {"name": "one"}, "spec": spec,
        })
    }

    pub(super) async fn end(self) -> Result<(), Failure> {
        self.cx
            .delete(&format!("{CRDS}/{}", self.name), json!({}))
            .await
            .map(|_| ())
    }
}

fn definition(group: &str) -> Value {
    let schema = json!({"openAPIV3Schema": {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer", "default": 3, "minimum": 0},
                    "color": {"type": "string", "enum": ["red", "blue"]},
                    "parts": {
                        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                        "items": {"type": "object", "required": ["id"], "properties": {
                            "id": {"type": "string"}, "count": {"type": "integer"},
                        }},
                    },
                    "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                },
            },
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
        },
    }});
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "schema": schema, "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        })
    };
    json!({
        "metadata": {"name": format!("gadgets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gd"], "categories": ["toys"]},
            "versions": [version("v1", true), version("v1beta1", false)],
        },
    })
}

async fn definitions_are_established(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    let found = cx.get(&format!("{CRDS}/{}", defined.name)).await?;
    let status = &found["status"];
    let types: Vec<&str> = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| c["type"].as_str())
        .collect();
    same!(types, ["NamesAccepted", "Established"], "conditions");
    same!(status["storedVersions"], json!(["v1"]), "storedVersions");
    same!(
        status["acceptedNames"]["listKind"],
        "GadgetList",
        "listKind"
    );
    same!(
        found["spec"]["conversion"],
        json!({"strategy": "None"}),
        "conversion"
    );
    defined.end().await
}

async fn definitions_are_discovered(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    let path = format!("/apis/{}/v1", defined.group);
    cx.until("discovery of the definition", || async {
        Ok(cx.try_get(&path).await?.is_some())
    })
    .await?;
    let found = cx.get(&path).await?;
    let gadgets = &found["resources"][0];
    same!(gadgets["name"], "gadgets", "name");
    same!(gadgets["singularName"], "gadget", "singularName");
    same!(gadgets["shortNames"], json!(["gd"]), "shortNames");
    same!(gadgets["categories"], json!(["toys"]), "categories");
    same!(
        found["resources"][1]["name"],
        "gadgets/status",
        "subresource"
    );
    let group = cx.get(&format!("/apis/{}", defined.group)).await?;
    same!(
        group["preferredVersion"]["version"],
        "v1",
        "preferred version"
    );
    defined.end().await
}

async fn definitions_need_matching_names(cx: Cx) -> Result<(), Failure> {
    let mut body = definition(&format!("{}.example.io", cx.namespace));
    body["metadata"]["name"] = format!("other.{}.example.io", cx.namespace).into();
    let refused = cx.refused(422, Method::POST, CRDS, body).await?;
    ensure!(
        refused
            .message
            .contains("must be spec.names.plural+\".\"+spec.group"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn custom_resources_are_pruned_and_defaulted(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    let mut body = defined.gadget(json!({"junk": 1, "free": {"any": {"thing": [1]}}}));
    body["more"] = 1.into();
    let made = cx.create(&defined.path, body).await?;
    same!(
        made["spec"],
        json!({"size": 3, "free": {"any": {"thing": [1]}}}),
        "spec"
    );
    ensure!(made.get("more").is_none(), "a field at the top stays");
    defined.end().await
}

async fn custom_resources_are_validated(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    for (spec, text) in [
        (
            json!({"color": "green"}),
            "spec.color: Unsupported value: \"green\"",
        ),
        (json!({"size": -1}), "should be greater than or equal to 0"),
        (
            json!({"parts": [{"count": 1}]}),
            "spec.parts[0].id: Required value",
        ),
    ] {
        let refused = cx
            .refused(422, Method::POST, &defined.path, defined.gadget(spec))
            .await?;
        ensure!(refused.message.contains(text), "{}", refused.message);
    }
    cx.refused(
        422,
        Method::POST,
        &defined.path,
        defined.gadget(json!({"size": "large"})),
    )
    .await?;
    defined.end().await
}

async fn custom_resources_need_a_version_to_be_updated(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    cx.create(&defined.path, defined.gadget(json!({}))).await?;
    let one = format!("{}/one", defined.path);
    let refused = cx
        .refused(422, Method::PUT, &one, defined.gadget(json!({"size": 5})))
        .await?;
    ensure!(
        refused.message.contains("must be specified for an update"),
        "{}",
        refused.message
    );
    defined.end().await
}

async fn custom_resources_have_no_strategic_patches(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    cx.create(&defined.path, defined.gadget(json!({}))).await?;
    let one = format!("{}/one", defined.path);
    cx.refused_patch(
        415,
        &one,
        PatchKind::Strategic,
        json!({"spec": {"size": 5}}),
    )
    .await?;
    defined.end().await
}

async fn custom_resources_have_generations(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    let made = cx.create(&defined.path, defined.gadget(json!({}))).await?;
    same!(made["metadata"]["generation"], 1, "generation");
    let one = format!("{}/one", defined.path);
    let labelled = cx
        .patch(
            &one,
            PatchKind::Merge,
            json!({"metadata": {"labels": {"a": "b"}}}),
        )
        .await?;
    same!(
        labelled["metadata"]["generation"],
        1,
        "generation after a label"
    );
    let changed = cx
        .patch(&one, PatchKind::Merge, json!({"spec": {"size": 5}}))
        .await?;
    same!(
        changed["metadata"]["generation"],
        2,
        "generation after a change of spec"
    );
    defined.end().await
}

async fn custom_resources_have_a_status(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    let mut body = defined.gadget(json!({}));
    body["status"] = json!({"phase": "New"});
    let made = cx
        .create(&format!("{}?fieldManager=me", defined.path), body)
        .await?;
    ensure!(made.get("status").is_none(), "a new object has a status");
    let status = format!("{}/one/status?fieldManager=me", defined.path);
    let patch = json!({"status": {"phase": "Ready"}, "spec": {"size": 9}, "metadata": {"labels": {"x": "y"}}});
    let changed = cx.patch(&status, PatchKind::Merge, patch).await?;
    same!(changed["status"], json!({"phase": "Ready"}), "status");
    same!(changed["spec"]["size"], 3, "size");
    same!(changed["metadata"]["generation"], 1, "generation");
    ensure!(
        changed["metadata"].get("labels").is_none(),
        "labels came with the status"
    );
    let list = &changed["metadata"]["managedFields"];
    same!(
        list[1]["subresource"],
        "status",
        "subresource of the second entry"
    );
    same!(
        list[1]["fieldsV1"],
        json!({"f:status": {".": {}, "f:phase": {}}}),
        "fields of the second entry"
    );
    let later = cx
        .patch(
            &format!("{}/one", defined.path),
            PatchKind::Merge,
            json!({"status": {"phase": "X"}}),
        )
        .await?;
    same!(
        later["status"],
        json!({"phase": "Ready"}),
        "status after a change of the main resource"
    );
    defined.end().await
}

async fn custom_resources_own_items_by_key(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    let spec = json!({"parts": [{"id": "a", "count": 1}], "tags": ["x"]});
    let made = cx
        .create(
            &format!("{}?fieldManager=me", defined.path),
            defined.gadget(spec),
        )
        .await?;
    let want = json!({"f:spec": {
        ".": {}, "f:size": {}, "f:tags": {".": {}, "v:\"x\"": {}},
        "f:parts": {".": {}, "k:{\"id\":\"a\"}": {".": {}, "f:count": {}, "f:id": {}}},
    }});
    same!(
        made["metadata"]["managedFields"][0]["fieldsV1"],
        want,
        "fields"
    );
    let body = defined.gadget(json!({"parts": [{"id": "b", "count": 2}]}));
    let one = format!("{}/one?fieldManager=you", defined.path);
    let changed = cx.patch(&one, PatchKind::Apply, body).await?;
    same!(
        changed["spec"]["parts"].as_array().map(Vec::len),
        Some(2),
        "parts"
    );
    defined.end().await
}

async fn custom_resources_in_lists_have_a_kind(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    cx.create(&defined.path, defined.gadget(json!({}))).await?;
    let list = cx.get(&defined.path).await?;
    same!(list["kind"], "GadgetList", "kind");
    same!(list["items"][0]["kind"], "Gadget", "kind of an item");
    same!(
        list["items"][0]["apiVersion"],
        format!("{}/v1", defined.group),
        "apiVersion of an item"
    );
    defined.end().await
}

async fn custom_resources_have_versions(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    cx.create(&defined.path, defined.gadget(json!({"size": 7})))
        .await?;
    let other = cx.path(&format!("/apis/{}/v1beta1", defined.group), "gadgets/one");
    let found = cx.get(&other).await?;
    same!(
        found["apiVersion"],
        format!("{}/v1beta1", defined.group),
        "apiVersion"
    );
    same!(found["spec"]["size"], 7, "size");
    defined.end().await
}

async fn custom_resources_have_columns(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    cx.create(&defined.path, defined.gadget(json!({"size": 7})))
        .await?;
    let table = cx
        .get_as(
            &defined.path,
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        )
        .await?;
    same!(table["rows"][0]["cells"], json!(["one", 7]), "cells");
    defined.end().await
}

async fn custom_resources_go_with_their_definition(cx: Cx) -> Result<(), Failure> {
    let defined = Defined::new(&cx).await?;
    cx.create(&defined.path, defined.gadget(json!({}))).await?;
    let crd = format!("{CRDS}/{}", defined.name);
    cx.delete(&crd, json!({})).await?;
    cx.gone(&crd).await?;
    cx.until("the end of the resource", || async {
        Ok(cx.try_get(&defined.path).await?.is_none())
    })
    .await
}
