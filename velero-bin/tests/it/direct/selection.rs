//! Filters and mappings of direct mode.

use tempfile::TempDir;
use velero_testkit::{Fault, FaultAction};

use crate::program::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn backups_hold_what_the_filters_say() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    for (name, filters, has, has_not) in [
        ("by-label", "-l app=web", "settings", "other"),
        ("by-labels", "--or-selector app=web", "settings", "other"),
        (
            "by-kind",
            "--include-namespaces shop --include-resources secrets",
            "key",
            "settings",
        ),
        (
            "without-kind",
            "--include-namespaces shop --exclude-resources cm",
            "key",
            "settings",
        ),
        (
            "by-pattern",
            "--include-namespaces sh*",
            "settings",
            "kube-system",
        ),
        (
            "without-cluster",
            "--include-namespaces shop --include-cluster-resources=false",
            "settings",
            "v1/Namespace",
        ),
    ] {
        let filters: Vec<&str> = filters.split(' ').collect();
        let args = [&["direct", "backup", name, "--store", &store][..], &filters].concat();
        source.run(args).await.exits(0);
        let listed = source
            .run(["direct", "ls", name, "--store", &store])
            .await
            .exits(0);
        assert!(
            listed.contains(has) && !listed.contains(has_not),
            "{name}: {listed}"
        );
    }
    let listed = source
        .run(["direct", "ls", "--store", &store, "-o", "json"])
        .await
        .exits(0);
    let list: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (
            list["kind"].as_str(),
            list["items"].as_array().map(Vec::len)
        ),
        (Some("BackupList"), Some(6))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_a_backup_would_hold_and_stores_nothing() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let text = source
        .velero(
            "direct backup first --dry-run --include-namespaces shop --exclude-resources secrets",
        )
        .await
        .exits(0);
    // Two maps of the shop and that of every namespace, its account and itself.
    assert!(
        text.starts_with("Backup \"first\" would hold 5 objects, "),
        "{text}"
    );
    let row = |name: &str| text.lines().find(|l| l.trim_start().starts_with(name));
    assert!(
        row("configmaps ").is_some_and(|l| l.ends_with("by namespace")),
        "{text}"
    );
    assert!(
        text.contains("Not read, resource filters: secrets"),
        "{text}"
    );

    // With a store it is the same; nothing is made of it.
    let store = folder.path().join("store");
    let url = format!("file://{}", store.display());
    source
        .run(["direct", "backup", "first", "--dry-run", "--store", &url])
        .await
        .exits(0);
    assert!(!store.exists());

    let refused = Fault::new(FaultAction::Forbidden);
    source
        .server
        .faults()
        .add(refused.verb("list").resource("secrets"));
    let text = source
        .velero("direct backup first --dry-run")
        .await
        .exits(2);
    assert!(
        text.contains("one list; not to the end") && text.contains("not all objects of this kind"),
        "{text}"
    );
    let message = source
        .velero("direct backup first --dry-run --include-namespaces A")
        .await
        .fails();
    assert!(message.contains("no namespace name"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_map_namespaces_and_filter() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    source
        .velero(&format!(
            "direct backup first --store {store} --include-namespaces shop"
        ))
        .await
        .exits(0);
    let line = format!(
        "direct restore first --store {store} --namespace-mappings shop:copy --include-resources configmaps"
    );
    source.velero(&line).await.exits(0);
    let objects = source.server.store();
    assert!(
        objects
            .get("v1", "ConfigMap", Some("copy"), "settings")
            .is_some()
    );
    assert!(objects.get("v1", "Secret", Some("copy"), "key").is_none());
    let line = format!("{line} --restore-name again");
    let again = source.velero(&line).await.exits(0);
    assert!(again.contains("Created:   0"), "{again}");
    let message = source.velero(&line).await.fails();
    assert!(
        message.contains("restore \"again\" exists already"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_found_by_their_names() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    source
        .server
        .store()
        .seed("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop-two}}")
        .unwrap();
    let store = format!("file://{}", folder.path().display());
    source
        .velero(&format!("direct backup first --store {store}"))
        .await
        .exits(0);
    let cat = async |object: &str| {
        source
            .run([
                "direct", "cat", "first", object, "--store", &store, "-o", "json",
            ])
            .await
    };
    assert!(
        cat("namespace/shop")
            .await
            .exits(0)
            .contains("\"team\": \"commerce\"")
    );
    assert!(
        cat("secret/key")
            .await
            .exits(0)
            .contains("\"kind\": \"Secret\"")
    );
    assert!(
        cat("cm/settings")
            .await
            .fails()
            .contains("configmaps/shop-two/settings, configmaps/shop/settings")
    );
    assert!(
        cat("cm/nothing")
            .await
            .fails()
            .contains("holds no \"cm/nothing\"")
    );
    assert!(
        cat("nothing")
            .await
            .fails()
            .contains("RESOURCE/NAMESPACE/NAME is needed")
    );
}
