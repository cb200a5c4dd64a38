//! Operations of the actions of a backup or a restore, at length or counted.

use velero_core::ResourceIdentifier;
use velero_core::api::{BackupStatus, RestoreStatus, Time};
use velero_core::artifact::{BackupItemOperation, OperationStatus, RestoreItemOperation};

use super::backup::File;
use super::text::{Text, time};

/// How many operations there are.
pub(super) struct Counts {
    attempted: i64,
    completed: i64,
    failed: i64,
}

impl From<&BackupStatus> for Counts {
    fn from(status: &BackupStatus) -> Self {
        Self {
            attempted: status.backup_item_operations_attempted,
            completed: status.backup_item_operations_completed,
            failed: status.backup_item_operations_failed,
        }
    }
}

impl From<&RestoreStatus> for Counts {
    fn from(status: &RestoreStatus) -> Self {
        Self {
            attempted: status.restore_item_operations_attempted,
            completed: status.restore_item_operations_completed,
            failed: status.restore_item_operations_failed,
        }
    }
}

/// An operation of a backup or a restore.
pub(super) trait Operation: AsRef<OperationStatus> {
    const HEADING: &'static str;
    const ACTION: &'static str;

    /// The item, the action, and the id that it gave.
    fn what(&self) -> (&ResourceIdentifier, &str, &str);

    /// Items to read again when it has ended.
    fn to_update(&self) -> &[ResourceIdentifier] {
        &[]
    }
}

impl Operation for BackupItemOperation {
    const HEADING: &'static str = "Backup Item Operations:";
    const ACTION: &'static str = "Backup Item Action Plugin:";

    fn what(&self) -> (&ResourceIdentifier, &str, &str) {
        let spec = &self.spec;
        (
            &spec.resource_identifier,
            &spec.backup_item_action,
            &spec.operation_id,
        )
    }

    fn to_update(&self) -> &[ResourceIdentifier] {
        self.spec
            .post_operation_items
            .as_deref()
            .unwrap_or_default()
    }
}

impl Operation for RestoreItemOperation {
    const HEADING: &'static str = "Restore Item Operations:";
    const ACTION: &'static str = "Restore Item Action Plugin:";

    fn what(&self) -> (&ResourceIdentifier, &str, &str) {
        let spec = &self.spec;
        (
            &spec.resource_identifier,
            &spec.restore_item_action,
            &spec.operation_id,
        )
    }
}

/// Adds the operations: each of them where they were fetched, else how many there are.
pub(super) fn operations<T: Operation>(
    text: &mut Text,
    counts: impl Into<Counts>,
    file: Option<File<Vec<T>>>,
) {
    let counts = counts.into();
    if counts.attempted == 0 {
        return;
    }
    text.gap();
    match file {
        None => {
            let counts = format!(
                "{} of {} completed successfully, {} failed (specify --details for more information)",
                counts.completed, counts.attempted, counts.failed
            );
            text.row([&T::HEADING, &counts]);
        }
        Some(Err(error)) => text.row([
            &T::HEADING,
            &format!("<error getting operation info: {error}>"),
        ]),
        Some(Ok(found)) => {
            text.row([&T::HEADING]);
            for operation in found.unwrap_or_default() {
                one(text, &operation);
            }
        }
    }
}

fn one<T: Operation>(text: &mut Text, operation: &T) {
    let ((item, action, id), status) = (operation.what(), operation.as_ref());
    text.row([&"", &format!("Operation for {}:", named(item))]);
    let mut row = |name: &str, value: &str| text.row([&"", &"", &name, &value]);
    row(T::ACTION, action);
    row("Operation ID:", id);
    for (at, item) in operation.to_update().iter().enumerate() {
        row(if at == 0 { "Items to Update:" } else { "" }, &named(item));
    }
    row("Phase:", status.phase.as_str());
    if !status.error.is_empty() {
        row("Operation Error:", &status.error);
    }
    if status.n_total > 0 || status.n_completed > 0 {
        let progress = format!(
            "{} of {} complete ({})",
            status.n_completed, status.n_total, status.operation_units
        );
        row("Progress:", &progress);
    }
    if !status.description.is_empty() {
        row("Progress description:", &status.description);
    }
    let times: [(&str, &Option<Time>); 3] = [
        ("Created:", &status.created),
        ("Started:", &status.started),
        ("Updated:", &status.updated),
    ];
    for (name, at) in times.into_iter().filter(|(_, at)| at.is_some()) {
        row(name, &time(at.as_ref()));
    }
}

fn named(id: &ResourceIdentifier) -> String {
    if id.namespace.is_empty() {
        format!("{} {}", id.group_resource, id.name)
    } else {
        format!("{} {}/{}", id.group_resource, id.namespace, id.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_and_details() {
        let mut status = BackupStatus::default();
        let render = |status: &BackupStatus, file: Option<File<Vec<BackupItemOperation>>>| {
            let mut text = Text::default();
            operations(&mut text, status, file);
            text.render()
        };
        assert_eq!(render(&status, None), "");
        status.backup_item_operations_attempted = 3;
        status.backup_item_operations_completed = 1;
        status.backup_item_operations_failed = 1;
        assert!(render(&status, None).contains("1 of 3 completed successfully, 1 failed (specify"));
        let id = |name: &str| json!({"Group": "", "Resource": "pods", "Namespace": "shop", "Name": name});
        let list = json!([{
            "spec": {"backupName": "b", "backupUID": "u", "backupItemAction": "example.com/snap", "resourceIdentifier": id("web"),
                "operationID": "op-1", "postOperationItems": [id("a"), id("b")]},
            "status": {"phase": "Failed", "error": "no space", "nCompleted": 1, "nTotal": 2, "operationUnits": "Bytes"},
        }]);
        let list = serde_json::from_value(list).unwrap();
        let rendered = render(&status, Some(Ok(Some(list))));
        let lines: Vec<String> = rendered
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(
            lines,
            [
                "Backup Item Operations:",
                "Operation for pods shop/web:",
                "Backup Item Action Plugin: example.com/snap",
                "Operation ID: op-1",
                "Items to Update: pods shop/a",
                "pods shop/b",
                "Phase: Failed",
                "Operation Error: no space",
                "Progress: 1 of 2 complete (Bytes)",
            ]
        );
        assert!(
            render(&status, Some(Err("x".into()))).contains("<error getting operation info: x>")
        );
    }

    #[test]
    fn those_of_restores() {
        let status = RestoreStatus {
            restore_item_operations_attempted: 1,
            ..RestoreStatus::default()
        };
        let list = json!([{
            "spec": {"restoreName": "r", "restoreUID": "u", "restoreItemAction": "example.com/fill", "operationID": "op-1",
                "resourceIdentifier": {"Group": "", "Resource": "pods", "Namespace": "shop", "Name": "web"}},
            "status": {"phase": "New"},
        }]);
        let list: Vec<RestoreItemOperation> = serde_json::from_value(list).unwrap();
        let mut text = Text::default();
        operations(&mut text, &status, Some(Ok(Some(list))));
        let rendered = text.render();
        for wanted in [
            "Restore Item Operations:",
            "Restore Item Action Plugin:",
            "example.com/fill",
        ] {
            assert!(rendered.contains(wanted), "{rendered}");
        }
    }
}
