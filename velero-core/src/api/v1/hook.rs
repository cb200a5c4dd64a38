//! Hooks of backups and restores: commands in containers, and init containers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    GoDuration,
    api::{
        lenient::{is_unset, never, non_empty, nullable},
        open_enum::open_enum,
        schema,
    },
};

/// Hooks that run while a backup is taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupHooks {
    /// Hooks, each with the objects it is for.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub resources: Vec<BackupResourceHookSpec>,
}

/// One hook of a backup and the objects it is for; everything that is not narrowed down matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupResourceHookSpec {
    /// Name, to be found again in logs and errors.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Namespaces to run in; all if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub included_namespaces: Vec<String>,
    /// Namespaces not to run in.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub excluded_namespaces: Vec<String>,
    /// Resources to run for; all if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub included_resources: Vec<String>,
    /// Resources not to run for.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub excluded_resources: Vec<String>,
    /// Labels that an object must have; any if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector", extend("nullable" = true))]
    pub label_selector: Option<LabelSelector>,
    /// What to do before the object, and what belongs to it, is backed up.
    #[serde(
        rename = "pre",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    pub pre_hooks: Vec<BackupResourceHook>,
    /// What to do after the object, and what belongs to it, is backed up.
    #[serde(
        rename = "post",
        deserialize_with = "nullable",
        skip_serializing_if = "is_unset"
    )]
    pub post_hooks: Vec<BackupResourceHook>,
}

/// One step of a backup hook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupResourceHook {
    /// Command to run in a container of the pod.
    #[serde(deserialize_with = "nullable")]
    pub exec: ExecHook,
}

/// A command that runs in a container while a backup is taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecHook {
    /// Container to run in; the first one of the pod if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub container: String,
    /// Command and its arguments; it does not go through a shell.
    #[serde(deserialize_with = "nullable")]
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// What a failure means; Fail if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub on_error: Option<HookErrorMode>,
    /// How long the command may run, such as 45s; zero stands for 30 seconds.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub timeout: GoDuration,
}

open_enum! {
    /// What the failure of a hook means for the run.
    HookErrorMode {
        /// The error is recorded and the work on the object goes on.
        Continue,
        /// The work on the object ends with an error.
        Fail,
    }
}

/// Hooks that run while objects are restored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreHooks {
    /// Hooks, each with the objects it is for.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub resources: Vec<RestoreResourceHookSpec>,
}

/// One hook of a restore and the objects it is for; everything that is not narrowed down matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreResourceHookSpec {
    /// Name, to be found again in logs and errors.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Namespaces, as in the cluster after mapping, to run in; all if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub included_namespaces: Vec<String>,
    /// Namespaces not to run in.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub excluded_namespaces: Vec<String>,
    /// Resources to run for; all if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub included_resources: Vec<String>,
    /// Resources not to run for.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    #[schemars(extend("nullable" = true))]
    pub excluded_resources: Vec<String>,
    /// Labels that an object must have; any if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector", extend("nullable" = true))]
    pub label_selector: Option<LabelSelector>,
    /// What to do, in this order.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub post_hooks: Vec<RestoreResourceHook>,
}

/// One step of a restore hook; one of the two fields is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreResourceHook {
    /// Command to run in a container once the pod runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecRestoreHook>,
    /// Init containers to add to the pod before it is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<InitRestoreHook>,
}

/// A command that runs in a container of a restored pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecRestoreHook {
    /// Container to run in; the first one of the pod if empty.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub container: String,
    /// Command and its arguments; it does not go through a shell.
    #[serde(deserialize_with = "nullable")]
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// What a failure means; Continue if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub on_error: Option<HookErrorMode>,
    /// How long the command may run, such as 45s; zero stands for 30 seconds.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub exec_timeout: GoDuration,
    /// How long to wait for the container to run; zero waits without end.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub wait_timeout: GoDuration,
    /// Whether the container must be ready and not only running; false if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub wait_for_ready: Option<bool>,
}

/// Init containers that are added to a restored pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InitRestoreHook {
    /// Containers as in a pod; each needs a name, an image and a command.
    #[schemars(schema_with = "schema::containers")]
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub init_containers: Vec<Value>,
    /// How long the init containers may take; zero stands for no limit.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "never")]
    pub timeout: GoDuration,
}
