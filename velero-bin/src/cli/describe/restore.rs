//! A restore at length.

use velero_core::api::{DownloadTargetKind, Restore, RestorePhase, RestoreSpec};
use velero_core::artifact::RestoreItemOperation;
use velero_core::result::ResultsFile;

use super::backup::{File, NamesByKind, fetch, when};
use super::operations::operations;
use super::text::{Colors, Text, choice, join, selector, selectors, time};
use crate::cli::download::Downloader;

/// What `describe` shows from the store; `None` where it is not needed.
#[derive(Debug, Default)]
pub(in crate::cli) struct RestoreFiles {
    results: Option<File<ResultsFile>>,
    resources: Option<File<NamesByKind>>,
    operations: Option<File<Vec<RestoreItemOperation>>>,
}

/// Fetches the files of a restore whose items are done, all at the same time.
pub(in crate::cli) async fn fetch_restore_files(
    downloads: &Downloader,
    restore: &Restore,
    details: bool,
) -> RestoreFiles {
    if matches!(
        restore.phase(),
        RestorePhase::New
            | RestorePhase::InProgress
            | RestorePhase::FailedValidation
            | RestorePhase::Unknown(_)
    ) {
        return RestoreFiles::default();
    }
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    let faults = restore.status.warnings > 0 || restore.status.errors > 0;
    let operated = restore.status.restore_item_operations_attempted > 0;
    let (results, resources, operations) = tokio::join!(
        when(
            faults,
            fetch(downloads, DownloadTargetKind::RestoreResults, name)
        ),
        when(
            details,
            fetch(downloads, DownloadTargetKind::RestoreResourceList, name)
        ),
        when(
            details && operated,
            fetch::<Option<Vec<RestoreItemOperation>>>(
                downloads,
                DownloadTargetKind::RestoreItemOperations,
                name
            )
        ),
    );
    RestoreFiles {
        results,
        resources,
        operations: operations.map(|file| file.map(Option::flatten)),
    }
}

/// The text about one restore.
pub(in crate::cli) fn describe_restore(
    restore: &Restore,
    files: RestoreFiles,
    colors: Colors,
) -> String {
    let mut text = Text::default();
    text.metadata(&restore.metadata, colors);
    text.gap();
    status(&mut text, restore, colors);
    text.validation(&restore.status.validation_errors, colors);
    faults(&mut text, restore, files.results);
    text.gap();
    spec(&mut text, &restore.spec);
    operations(&mut text, &restore.status, files.operations);
    if let Some(hooks) = &restore.status.hook_status {
        text.gap();
        text.row([&"HooksAttempted:", &hooks.hooks_attempted]);
        text.row([&"HooksFailed:", &hooks.hooks_failed]);
    }
    if let Some(resources) = files.resources {
        text.resource_list(resources);
    }
    text.render()
}

fn status(text: &mut Text, restore: &Restore, colors: Colors) {
    let name = restore.metadata.name.as_deref().unwrap_or_default();
    let phase = restore.phase();
    let deleting = if restore.metadata.deletion_timestamp.is_some() {
        " (Deleting)"
    } else {
        ""
    };
    let hint = match phase {
        RestorePhase::Failed | RestorePhase::PartiallyFailed => {
            format!(" (run 'velero restore logs {name}' for more information)")
        }
        _ => String::new(),
    };
    text.row([
        &"Phase:",
        &format!("{}{deleting}{hint}", colors.phase(phase.as_str())),
    ]);
    if !restore.status.failure_reason.is_empty() {
        text.row([
            &"Failure reason:",
            &colors.red(&restore.status.failure_reason),
        ]);
    }
    if let Some(progress) = &restore.status.progress {
        let (total, done) = if *phase == RestorePhase::InProgress {
            (
                "Estimated total items to be restored:",
                "Items restored so far:",
            )
        } else {
            ("Total items to be restored:", "Items restored:")
        };
        text.row([&total, &progress.total_items]);
        text.row([&done, &progress.items_restored]);
    }
    text.gap();
    text.row([&"Started:", &time(restore.status.start_timestamp.as_ref())]);
    text.row([
        &"Completed:",
        &time(restore.status.completion_timestamp.as_ref()),
    ]);
}

fn faults(text: &mut Text, restore: &Restore, results: Option<File<ResultsFile>>) {
    match results {
        None => {}
        Some(Ok(None)) => {
            text.gap();
            text.row([&"Warnings:", &restore.status.warnings]);
            text.row([&"Errors:", &restore.status.errors]);
        }
        Some(Err(error)) => {
            text.gap();
            text.row([&"Warnings:", &format!("<error getting warnings: {error}>")]);
            text.row([&"Errors:", &format!("<error getting errors: {error}>")]);
        }
        Some(Ok(Some(results))) => {
            if restore.status.warnings > 0 {
                text.messages("Warnings:", &results.warnings);
            }
            if restore.status.errors > 0 {
                text.messages("Errors:", &results.errors);
            }
        }
    }
}

fn spec(text: &mut Text, spec: &RestoreSpec) {
    text.row([&"Backup:", &spec.backup_name]);
    text.gap();
    let all =
        matches!(spec.included_namespaces.as_slice(), []) || spec.included_namespaces == ["*"];
    let included = if all {
        "all namespaces found in the backup".to_owned()
    } else {
        spec.included_namespaces.join(", ")
    };
    text.lists(
        "Namespaces:",
        &[
            ("Included:", included),
            ("Excluded:", join(&spec.excluded_namespaces, "<none>")),
        ],
    );
    text.gap();
    text.lists(
        "Resources:",
        &[
            ("Included:", join(&spec.included_resources, "*")),
            ("Excluded:", join(&spec.excluded_resources, "<none>")),
            (
                "Cluster-scoped:",
                choice(spec.include_cluster_resources, "included", "excluded"),
            ),
        ],
    );
    text.gap();
    text.pairs("Namespace mappings:", Some(&spec.namespace_mapping));
    text.gap();
    text.row([&"Label selector:", &selector(spec.label_selector.as_ref())]);
    text.gap();
    text.row([&"Or label selector:", &selectors(&spec.or_label_selectors)]);
    text.gap();
    text.row([&"Restore PVs:", &choice(spec.restore_pvs, "true", "false")]);
    text.gap();
    let policy = if spec.existing_resource_policy.is_empty() {
        "<none>"
    } else {
        &spec.existing_resource_policy
    };
    text.row([&"Existing Resource Policy:", &policy]);
    text.row([&"ItemOperationTimeout:", &spec.item_operation_timeout]);
    text.gap();
    text.row([
        &"Preserve Service NodePorts:",
        &choice(spec.preserve_node_ports, "true", "false"),
    ]);
    if let Some(modifier) = &spec.resource_modifier {
        text.gap();
        let rows = [
            ("Type:", modifier.kind.clone()),
            ("Name:", modifier.name.clone()),
        ];
        text.lists("Resource modifier:", &rows);
    }
    if let Some(uploader) = &spec.uploader_config {
        text.gap();
        text.row([&"Uploader config:"]);
        if uploader.write_sparse_files == Some(true) {
            text.row([&"", &"Write Sparse Files:", &true]);
        }
        if uploader.parallel_files_download > 0 {
            text.row([&"", &"Parallel Restore:", &uploader.parallel_files_download]);
        }
    }
}
