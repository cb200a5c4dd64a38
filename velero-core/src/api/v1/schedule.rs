//! The Schedule kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BackupSpec;
use crate::api::{
    kind::{PrinterColumn, resource},
    lenient::{is_unset, non_empty, nullable},
    open_enum::open_enum,
    schema,
};

resource! {
    /// A plan by which backups are made again and again.
    Schedule("schedules", "v1") {
        spec: ScheduleSpec,
        status: ScheduleStatus,
        short_names: [],
        columns: [
            PrinterColumn::new("Status", "string", ".status.phase", "Whether the schedule is valid"),
            PrinterColumn::new("Schedule", "string", ".spec.schedule", "When backups are made, as a cron expression"),
            PrinterColumn::new("LastBackup", "date", ".status.lastBackup", "Time since the last backup was made"),
            PrinterColumn::age(),
            PrinterColumn::new("Paused", "boolean", ".spec.paused", "Whether no backups are made for now"),
        ],
    }
}

impl Schedule {
    /// Gives the phase; one that is not set yet counts as `New`.
    pub fn phase(&self) -> &SchedulePhase {
        self.status.phase.as_ref().unwrap_or(&SchedulePhase::New)
    }
}

/// When backups are made, and what goes into them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduleSpec {
    /// Spec of the backups.
    #[serde(deserialize_with = "nullable")]
    pub template: BackupSpec,
    /// Cron expression with five fields, or a form such as @every 6h.
    #[serde(deserialize_with = "nullable")]
    pub schedule: String,
    /// Whether the schedule owns its backups, which then go when it goes; false if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("nullable" = true))]
    pub use_owner_references_in_backup: Option<bool>,
    /// Whether no backups are made for now.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub paused: bool,
    /// Whether a run that is due right when the schedule is made or resumed is left out; the server's default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_immediately: Option<bool>,
}

/// How a schedule is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduleStatus {
    /// Whether the schedule is valid; New if absent.
    #[serde(
        deserialize_with = "non_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub phase: Option<SchedulePhase>,
    /// When the last backup was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_backup: Option<Time>,
    /// When a run was last left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_skipped: Option<Time>,
    /// What is wrong with the spec, when the phase is FailedValidation.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_unset")]
    pub validation_errors: Vec<String>,
}

open_enum! {
    /// Whether a schedule is valid.
    SchedulePhase {
        /// Seen by nobody yet.
        New,
        /// Valid, makes backups.
        Enabled,
        /// The spec is wrong.
        FailedValidation,
    }
}
