//! Operations of a backup's actions, at length or counted.

use velero_core::ResourceIdentifier;
use velero_core::api::{BackupStatus, Time};
use velero_core::artifact::BackupItemOperation;

use super::backup::File;
use super::text::{Text, time};

const HEADING: &str = "Backup Item Operations:";

/// Adds the operations: each of them where they were fetched, else how many there are.
pub(super) fn operations(
    text: &mut Text,
    status: &BackupStatus,
    file: Option<File<Vec<BackupItemOperation>>>,
) {
    if status.backup_item_operations_attempted == 0 {
        return;
    }
    text.gap();
    match file {
        None => {
            let counts = format!(
                "{} of {} completed successfully, {} failed (specify --details for more information)",
                status.backup_item_operations_completed,
                status.backup_item_operations_attempted,
                status.backup_item_operations_failed
            );
            text.row([&HEADING, &counts]);
        }
        Some(Err(error)) => text.row([
            &HEADING,
            &format!("<error getting operation info: {error}>"),
        ]),
        Some(Ok(found)) => {
            text.row([&HEADING]);
            for operation in found.unwrap_or_default() {
                one(text, &operation);
            }
        }
    }
}

fn one(text: &mut Text, operation: &BackupItemOperation) {
    let (spec, status) = (&operation.spec, &operation.status);
    let item = named(&spec.resource_identifier);
    text.row([&"", &format!("Operation for {item}:")]);
    let mut row = |name: &str, value: &str| text.row([&"", &"", &name, &value]);
    row("Backup Item Action Plugin:", &spec.backup_item_action);
    row("Operation ID:", &spec.operation_id);
    for (at, item) in spec.post_operation_items.iter().flatten().enumerate() {
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
        let render = |status: &BackupStatus, file| {
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
}
