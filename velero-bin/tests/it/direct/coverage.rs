//! What became of the objects of each kind, and what a backup says that holds nothing.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::Cluster;

fn kind<'a>(document: &'a Value, resource: &str) -> &'a Value {
    let kinds = document["coverage"].as_array().unwrap();
    let found = kinds.iter().find(|kind| kind["resource"] == resource);
    found.unwrap_or_else(|| panic!("{resource} in {document}"))
}

/// The document has the keys of the backup that lies in the store, and two of ours.
#[tokio::test(flavor = "multi_thread")]
async fn backups_and_dry_runs_as_json() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let filters = "--include-namespaces shop --exclude-resources secrets -l app=web -o json";
    for (line, phase) in [
        (format!("direct backup dry --dry-run {filters}"), None),
        (
            format!("direct backup real --store {store} {filters}"),
            Some("Completed"),
        ),
    ] {
        source.server.calls().reset();
        let ran = source.velero(&line).await;
        assert_eq!(ran.stderr, "", "{line}");
        let document: Value = serde_json::from_str(&ran.exits(0)).unwrap();
        assert_eq!(document["kind"], "Backup");
        assert_eq!(document["status"]["phase"].as_str(), phase, "{line}");
        assert_eq!(
            document["spec"]["includedNamespaces"],
            json!(["shop"]),
            "{line}"
        );
        assert_eq!(document["results"], json!({"errors": {}, "warnings": {}}));
        let maps = kind(&document, "configmaps");
        assert_eq!(
            [
                &maps["reading"],
                &maps["read"],
                &maps["leftOut"]["labelSelector"]
            ],
            [&json!("by namespace"), &json!(true), &Value::Null]
        );
        assert!(maps["stored"].as_u64() > Some(0), "{maps}");
        let secrets = kind(&document, "secrets");
        assert_eq!(
            [&secrets["reading"], &secrets["read"], &secrets["stored"]],
            [
                &json!("not read: resource filters"),
                &json!(false),
                &json!(0)
            ]
        );
        // What fills in the spec, what resolves the filters and the run share one list.
        let calls = source.server.calls();
        assert_eq!(calls.count("list", "namespaces"), 1, "{line}");
    }
    let text = source
        .velero(&format!(
            "direct backup more --store {store} --include-namespaces shop -o yaml"
        ))
        .await
        .exits(0);
    assert!(
        text.contains("coverage:\n") && text.contains("phase: Completed\n"),
        "{text}"
    );
}

/// `Completed` as with the peer, but never without a word.
#[tokio::test(flavor = "multi_thread")]
async fn backups_that_select_nothing_say_so() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    for (name, filter, expected, warnings) in [
        (
            "a",
            "--include-namespaces nope-*",
            "includedNamespaces \"nope-*\": no namespace of the cluster matches",
            2,
        ),
        (
            "b",
            "--include-resources frobs",
            "includedResources \"frobs\": the cluster serves no such resource",
            2,
        ),
        (
            "c",
            "-l no=x",
            "nothing is in the backup: none is selected by labelSelector \"no=x\"",
            1,
        ),
    ] {
        let line = format!("direct backup {name} --store {store} {filter}");
        let text = source.velero(&line).await.exits(0);
        assert!(
            text.starts_with(&format!("Backup \"{name}\" Completed.\n"))
                && text.contains(expected)
                && text.lines().any(|line| line
                    .split_whitespace()
                    .eq(["Warnings:", &warnings.to_string()])),
            "{filter}: {text}"
        );
        let line = format!("direct backup {name} --dry-run {filter}");
        let text = source.velero(&line).await.exits(0);
        assert!(text.contains(expected), "{filter}: {text}");
    }
    // An error of the backup is one of the dry run.
    for line in [
        format!("direct backup d --store {store} --include-namespaces gone"),
        "direct backup d --dry-run --include-namespaces gone".to_owned(),
    ] {
        let text = source.velero(&line).await.exits(2);
        assert!(
            text.contains("the included namespace does not exist"),
            "{text}"
        );
    }
}
