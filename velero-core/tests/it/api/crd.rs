//! What the shape file does not tell about the definitions.

use serde_json::Value;
use velero_core::api::{crd, *};

fn all() -> Vec<Value> {
    crd::all()
        .iter()
        .map(|crd| serde_json::to_value(crd).unwrap())
        .collect()
}

fn schema_of<K: VeleroKind>() -> Value {
    let crd = serde_json::to_value(crd::of::<K>()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn subresources_are_empty_or_absent_and_never_status() {
    let with_key: Vec<String> = all()
        .iter()
        .filter_map(|crd| {
            let subresources = crd["spec"]["versions"][0].get("subresources")?;
            assert_eq!(
                *subresources,
                serde_json::json!({}),
                "{}",
                crd["metadata"]["name"]
            );
            Some(crd["spec"]["names"]["plural"].as_str()?.to_owned())
        })
        .collect();
    assert_eq!(
        with_key,
        [
            "backuprepositories",
            "backupstoragelocations",
            "deletebackuprequests",
            "podvolumebackups",
            "podvolumerestores",
            "schedules",
            "datadownloads",
            "datauploads",
        ]
    );
}

#[test]
fn hook_commands_have_at_least_one_word() {
    let backup = schema_of::<Backup>();
    let restore = schema_of::<Restore>();
    for path in [
        "/properties/spec/properties/hooks/properties/resources/items/properties/pre/items/properties/exec/properties/command",
        "/properties/spec/properties/hooks/properties/resources/items/properties/post/items/properties/exec/properties/command",
    ] {
        assert_eq!(backup.pointer(path).unwrap()["minItems"], 1, "{path}");
    }
    let path = "/properties/spec/properties/hooks/properties/resources/items/properties/postHooks/items/properties/exec/properties/command";
    assert_eq!(restore.pointer(path).unwrap()["minItems"], 1);
}

#[test]
fn columns_of_bytes_are_64_bits_wide() {
    let crd = serde_json::to_value(crd::of::<DataUpload>()).unwrap();
    let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .clone();
    for column in columns.iter().filter(|column| column["type"] == "integer") {
        assert_eq!(column["format"], "int64", "{column}");
    }
}

#[test]
fn every_property_is_described() {
    fn walk(path: &str, schema: &Value) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            let description = property["description"].as_str().unwrap_or_default();
            assert!(
                name == "metadata" || description.len() > 10,
                "{path}: {description:?}"
            );
            assert!(
                !description.contains('\n') && !description.contains('`'),
                "{path}: {description:?}"
            );
            walk(&path, property);
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(key) {
                walk(&format!("{path}[]"), inner);
            }
        }
    }
    for crd in all() {
        walk(
            crd["metadata"]["name"].as_str().unwrap(),
            &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
        );
    }
}

#[test]
fn structural_rules_of_the_api_server_hold() {
    for crd in all() {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert!(
            schema.get("required").is_none(),
            "neither spec nor status is required"
        );
        assert_eq!(schema["type"], "object");
        assert!(schema["description"].as_str().unwrap().ends_with('.'));
        let text = schema.to_string();
        for word in ["anyOf", "oneOf", "$ref", "\"title\"", "x-kept-default"] {
            assert!(!text.contains(word), "{}: {word}", crd["metadata"]["name"]);
        }
    }
}

#[test]
fn kinds_and_resources_agree_with_kube() {
    fn check<K: VeleroKind>() {
        let crd = crd::of::<K>();
        assert_eq!(crd.spec.names.kind, K::kind(&()));
        assert_eq!(crd.spec.names.plural, K::plural(&()));
        assert_eq!(crd.spec.versions[0].name, K::version(&()));
        assert_eq!(K::API_VERSION, K::api_version(&()));
        assert_eq!(
            crd.metadata.name.unwrap(),
            format!("{}.velero.io", K::PLURAL)
        );
    }
    for_every_kind!(check);
}

/// `cargo xtask crds` writes the files.
#[test]
fn the_files_hold_the_definitions() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), all().len());
    for crd in all() {
        let name = format!("{}.yaml", crd["metadata"]["name"].as_str().unwrap());
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        let file: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(file, crd, "{name} is stale: run `cargo xtask crds`");
    }
}
