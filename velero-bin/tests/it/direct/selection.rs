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

    // A name in an order that stands for nothing is told as a run does.
    let told = [
        "direct backup first --dry-run --include-namespaces shop --ordered-resources pods=shop/none",
        "direct backup first --include-namespaces shop --ordered-resources pods=shop/none",
    ];
    for line in told {
        let mut args: Vec<&str> = line.split(' ').collect();
        args.extend(["--store", &url]);
        let text = source.run(args).await.exits(0);
        assert!(
            text.contains("it is named in orderedResources, but is not among what is backed up"),
            "{text}"
        );
    }
    // By now the name is taken; it is no fault of a dry run.
    let again = ["direct", "backup", "first", "--dry-run", "--store", &url];
    let ran = source.run(again).await;
    assert!(
        ran.stderr
            .starts_with("warning: backup \"first\" exists already in ")
            && ran.stderr.lines().count() == 1,
        "{}",
        ran.stderr
    );
    ran.exits(0);

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

/// Names that are made up never clash: several restores within a second are several restores.
#[tokio::test(flavor = "multi_thread")]
async fn restores_without_a_name_get_one_that_is_free() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let line = format!("direct backup first --store {store} --include-namespaces shop");
    source.velero(&line).await.exits(0);
    // As if restores of this second and the next minutes had been made.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    for second in 0..600 {
        let time = &now + jiff::SignedDuration::from_secs(second);
        let name = format!("first-{}", time.strftime("%Y%m%d%H%M%S"));
        let dir = folder.path().join("restores").join(&name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("restore-{name}-results.gz")), "x").unwrap();
    }
    let text = source
        .velero(&format!("direct restore first --store {store}"))
        .await
        .exits(0);
    let name = text.split('"').nth(1).unwrap();
    assert!(name.ends_with("-2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_namespace_is_told_and_has_a_limit() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let line = format!("direct backup first --store {store} --include-namespaces shop");
    source.velero(&line).await.exits(0);
    let target = Cluster::start().await;
    target
        .server
        .store()
        .seed("{apiVersion: v1, kind: Namespace, \
             metadata: {name: shop, deletionTimestamp: \"2026-01-01T00:00:00Z\", finalizers: [example.com/wait]}, \
             status: {phase: Terminating}}")
        .unwrap();
    let line = format!("direct restore first --store {store} --terminating-resource-timeout 100ms");
    let ran = target.velero(&line).await;
    assert!(
        ran.stderr.starts_with(
            "waiting for namespace shop to be gone, which is being deleted, for up to "
        ),
        "{}",
        ran.stderr
    );
    let text = ran.exits(2);
    assert!(
        text.contains("namespace shop is still being deleted"),
        "{text}"
    );
}

/// `Completed` as with the peer, but never without a word.
#[tokio::test(flavor = "multi_thread")]
async fn restores_that_select_nothing_say_so() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let line = format!("direct backup first --store {store} --include-namespaces shop");
    source.velero(&line).await.exits(0);
    for (name, filter, expected, warnings) in [
        (
            "a",
            "--include-namespaces nope",
            "includedNamespaces \"nope\": the backup holds no such namespace",
            2,
        ),
        (
            "b",
            "--include-resources frobs",
            "includedResources \"frobs\": neither the backup nor the cluster knows such a resource",
            2,
        ),
        (
            "c",
            "-l no=x",
            "none is selected by labelSelector \"no=x\"",
            1,
        ),
        (
            "d",
            "--namespace-mappings nope:x",
            "namespaceMapping \"nope\" to \"x\": the backup holds no namespace \"nope\"",
            1,
        ),
    ] {
        let text = source
            .velero(&format!(
                "direct restore first --store {store} --restore-name {name} {filter}"
            ))
            .await
            .exits(0);
        assert!(
            text.contains(expected)
                && text.lines().any(|line| line
                    .split_whitespace()
                    .eq(["Warnings:", &warnings.to_string()])),
            "{filter}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_differ_are_not_counted_as_failed() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let line = format!("direct backup first --store {store} --include-namespaces shop");
    source.velero(&line).await.exits(0);
    let target = Cluster::start().await;
    target
        .server
        .store()
        .seed(
            "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\n\
             {apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop}, data: {color: red}}",
        )
        .unwrap();
    let line = format!("direct restore first --store {store} --include-resources configmaps");
    let text = target.velero(&line).await.exits(0);
    let count = |name: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(name));
        line.and_then(|line| line.trim().strip_prefix(name))
            .map(|value| value.trim().to_owned())
    };
    assert_eq!(
        [count("Differ:"), count("Failed:"), count("Warnings:")],
        ["1 (left as they were)", "0", "1"].map(|text| Some(text.to_owned())),
        "{text}"
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
    // What `direct ls` prints, as one word and as it stands.
    let listed = cat("v1/ConfigMap/shop/settings").await.exits(0);
    assert!(listed.contains("blue"), "{listed}");
    let row = "direct cat first v1/ConfigMap shop settings --store";
    assert!(
        source
            .velero(&format!("{row} {store}"))
            .await
            .exits(0)
            .contains("blue")
    );
    let row = "direct cat first v1/Namespace shop --store";
    assert!(
        source
            .velero(&format!("{row} {store}"))
            .await
            .exits(0)
            .contains("commerce")
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
