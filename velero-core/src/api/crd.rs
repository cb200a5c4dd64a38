//! The CustomResourceDefinitions of all kinds.
//!
//! They have the shape of those that Velero v1.18.2 installs (names, types, formats, enums, what is required, what may be null, printed
//! columns), so that either program works on a cluster set up by the other. The descriptions are those of the Rust types.

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
        CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresources,
        CustomResourceValidation, JSONSchemaProps,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use schemars::{
    JsonSchema,
    generate::{Contract, SchemaSettings},
};
use serde_json::{Map, Value, json};

use super::{
    Backup, BackupRepository, BackupStorageLocation, DataDownload, DataUpload, DeleteBackupRequest,
    DownloadRequest, PodVolumeBackup, PodVolumeRestore, PrinterColumn, Restore, Schedule,
    ServerStatusRequest, VeleroKind, VolumeSnapshotLocation, schema::KEPT_DEFAULT,
};
use crate::names;

/// Gives the definitions of all kinds: those of `v1` first, then those of `v2alpha1`, each by name.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        of::<BackupRepository>(),
        of::<Backup>(),
        of::<BackupStorageLocation>(),
        of::<DeleteBackupRequest>(),
        of::<DownloadRequest>(),
        of::<PodVolumeBackup>(),
        of::<PodVolumeRestore>(),
        of::<Restore>(),
        of::<Schedule>(),
        of::<ServerStatusRequest>(),
        of::<VolumeSnapshotLocation>(),
        of::<DataDownload>(),
        of::<DataUpload>(),
    ]
}

/// Gives the definition of one kind.
pub fn of<K: VeleroKind>() -> CustomResourceDefinition {
    let has_columns = !K::COLUMNS.is_empty();
    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", K::PLURAL, names::GROUP)),
            ..Default::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: names::GROUP.to_owned(),
            names: CustomResourceDefinitionNames {
                kind: K::KIND.to_owned(),
                list_kind: Some(format!("{}List", K::KIND)),
                plural: K::PLURAL.to_owned(),
                singular: Some(K::KIND.to_ascii_lowercase()),
                short_names: (!K::SHORT_NAMES.is_empty())
                    .then(|| K::SHORT_NAMES.iter().map(|&name| name.to_owned()).collect()),
                categories: None,
            },
            scope: "Namespaced".to_owned(),
            versions: vec![CustomResourceDefinitionVersion {
                name: K::VERSION.to_owned(),
                served: true,
                storage: true,
                schema: Some(CustomResourceValidation {
                    open_api_v3_schema: Some(root_schema::<K>()),
                }),
                // Empty, which switches nothing on; upstream has it wherever it has columns.
                subresources: has_columns.then(CustomResourceSubresources::default),
                additional_printer_columns: has_columns
                    .then(|| K::COLUMNS.iter().map(column).collect()),
                ..Default::default()
            }],
            ..Default::default()
        },
        status: None,
    }
}

fn column(column: &PrinterColumn) -> CustomResourceColumnDefinition {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    CustomResourceColumnDefinition {
        name: column.name.to_owned(),
        type_: column.type_.to_owned(),
        json_path: column.path.to_owned(),
        description: text(column.description),
        format: text(column.format),
        priority: (column.priority != 0).then_some(column.priority),
    }
}

fn root_schema<K: VeleroKind>() -> JSONSchemaProps {
    let mut schema = json!({
        "description": K::DESCRIPTION,
        "type": "object",
        "properties": {
            "apiVersion": {"description": "Version of the API that the object is written in.", "type": "string"},
            "kind": {"description": "Kind of the object.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": schema_of::<K::Spec>(),
            "status": schema_of::<K::Status>(),
        },
    });
    make_structural(&mut schema);
    // Cannot fail: the schema is made of constants, and a test looks at each of them.
    serde_json::from_value(schema).unwrap_or_default()
}

fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
        // What is always written is required, unless a field says otherwise: the same rule as `omitempty` in Go.
        settings.contract = Contract::Serialize;
        settings.transforms.clear();
    });
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// Turns what schemars makes into the dialect of CustomResourceDefinitions, here and below.
///
/// That dialect has no type lists, no alternatives with null and no titles; and the defaults of the Rust types must not become defaults
/// that the API server fills in.
fn make_structural(schema: &mut Value) {
    let Value::Object(schema) = schema else {
        return;
    };
    for key in ["$schema", "title", "default"] {
        schema.remove(key);
    }
    if let Some(default) = schema.remove(KEPT_DEFAULT) {
        schema.insert("default".to_owned(), default);
    }
    drop_null_alternative(schema);
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key) {
            make_structural(inner);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(make_structural);
    }
}

/// Takes null out of the types that an `Option` has: whether a field may be null is said field by field.
fn drop_null_alternative(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get("type")
        && let Some(kept) = types.iter().find(|&kind| kind != "null").cloned()
    {
        schema.insert("type".to_owned(), kept);
    }
    if let Some(Value::Array(alternatives)) = schema.remove("anyOf") {
        let kept = alternatives
            .into_iter()
            .find(|alternative| alternative["type"] != "null");
        if let Some(Value::Object(kept)) = kept {
            for (key, value) in kept {
                schema.entry(key).or_insert(value);
            }
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
}
