//! Restores beside what is there already: what a new cluster provides by itself, owners and the garbage collector, many
//! equal objects, objects that cannot be changed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    Context, ControlPlane, Kubectl, Options, Velero,
    audit::{AuditEvent, AuditFilter},
    world,
};
use crate::{site::SOON, wait::eventually};

const NAMESPACE: &str = "owners";
/// Equal objects of one kind.
const MANY: usize = 1_000;
/// How long the garbage collector is given to delete what it must not delete.
const PATIENCE: Duration = Duration::from_secs(20);

/// One control plane, and how it is talked to.
struct Place {
    plane: ControlPlane,
    kubectl: Kubectl,
    velero: Velero,
    store: String,
}

/// Backs a whole cluster up and restores it into a new one, twice.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let source = place(cx).await?;
    world::create(&source.kubectl, 1).await?;
    make_owned(&source.kubectl).await?;
    source.velero(&["direct", "backup", "all"], &[]).await?;
    source.plane.stop().await;

    let target = place(cx).await?;
    let first = target.restore(&["--relink-owners"]).await?;
    ensure!(
        first.warnings == 0 && first.errors == 0,
        "a whole cluster was restored into a new one with warnings or errors:\n{}",
        first.text
    );
    linked(&target).await?;
    equal(&target).await?;
    recreated(&target).await?;
    target.plane.stop().await;
    Ok(())
}

async fn place(cx: &Context) -> Result<Place> {
    let plane = cx.control_plane(Options::default()).await?;
    Ok(Place {
        kubectl: Kubectl::new(&plane)?,
        velero: cx.cli(&plane)?,
        store: format!("file://{}", cx.scratch().join("existing").display()),
        plane,
    })
}

/// What a restore says of itself.
struct Summary {
    warnings: u64,
    errors: u64,
    skipped: u64,
    text: String,
}

impl Place {
    async fn velero(&self, words: &[&str], flags: &[&str]) -> Result<String> {
        let store = ["--store", &self.store];
        self.velero.ok(&[words, flags, &store].concat()).await
    }

    async fn restore(&self, flags: &[&str]) -> Result<Summary> {
        let store = ["direct", "restore", "all", "--store", &self.store];
        let outcome = self.velero.run(&[&store[..], flags].concat()).await?;
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        let count = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.trim_start().starts_with(name));
            let value = line.and_then(|line| line.split_whitespace().last());
            value
                .and_then(|value| value.parse().ok())
                .with_context(|| format!("the restore does not tell its {name}:\n{text}"))
        };
        Ok(Summary {
            warnings: count("Warnings")?,
            errors: count("Errors")?,
            skipped: count("Skipped")?,
            text: text.clone(),
        })
    }

    async fn get(&self, kind: &str, name: &str) -> Result<Value> {
        let get = ["get", kind, name, "-n", NAMESPACE, "-o", "json"];
        Ok(serde_json::from_str(&self.kubectl.ok(&get).await?)?)
    }
}

/// Owners of all orders: ConfigMaps come after Secrets and before custom resources.
async fn make_owned(kubectl: &Kubectl) -> Result<()> {
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    kubectl.apply(&[space], &[]).await?;
    let map = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data});
    let mut frozen = map("frozen", json!({"a": "backed up"}));
    frozen["immutable"] = json!(true);
    let book = json!({"apiVersion": "library.example.com/v1", "kind": "Book",
        "metadata": {"name": "book", "namespace": NAMESPACE}, "spec": {"pages": 1}});
    let mut all = vec![frozen, book, map("owner", json!({}))];
    all.extend((0..MANY).map(|n| map(&format!("many-{n}"), json!({"n": n.to_string()}))));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string();
    kubectl.ok_with(&["create", "-f", "-"], &list).await?;
    let owner = |version: &str, kind: &str, name: &str, uid: &str| json!([{"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let by_map = owner(
        "v1",
        "ConfigMap",
        "owner",
        &uid(kubectl, "configmap", "owner").await?,
    );
    let by_book = owner(
        "library.example.com/v1",
        "Book",
        "book",
        &uid(kubectl, "book", "book").await?,
    );
    let owned = |kind: &str, name: &str, owners: &Value| {
        json!({"apiVersion": "v1", "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE, "ownerReferences": owners}})
    };
    let owned = [
        owned("Secret", "by-map", &by_map),
        owned("Secret", "by-book", &by_book),
        owned("ConfigMap", "by-book", &by_book),
        owned("Endpoints", "by-map", &by_map),
    ];
    kubectl.apply(&owned, &[]).await
}

async fn uid(kubectl: &Kubectl, kind: &str, name: &str) -> Result<String> {
    let path = "jsonpath={.metadata.uid}";
    kubectl
        .ok(&["get", kind, name, "-n", NAMESPACE, "-o", path])
        .await
}

/// What is owned has its owner, stays with it, and goes with it.
async fn linked(target: &Place) -> Result<()> {
    let owned = [
        ("secret", "by-map", "configmap", "owner"),
        ("endpoints", "by-map", "configmap", "owner"),
        ("secret", "by-book", "book", "book"),
        ("configmap", "by-book", "book", "book"),
    ];
    tokio::time::sleep(PATIENCE).await;
    for (kind, name, owner_kind, owner) in owned {
        let (object, owner) = (
            target.get(kind, name).await?,
            target.get(owner_kind, owner).await?,
        );
        let has = &object["metadata"]["ownerReferences"][0]["uid"];
        ensure!(
            *has == owner["metadata"]["uid"],
            "{kind} {name} has the owner {has}, not {}",
            owner["metadata"]["uid"]
        );
    }
    let delete = [
        "delete",
        "book",
        "book",
        "-n",
        NAMESPACE,
        "--cascade=background",
    ];
    target.kubectl.ok(&delete).await?;
    for (kind, name) in [("secret", "by-book"), ("configmap", "by-book")] {
        let get = [
            "get",
            kind,
            name,
            "-n",
            NAMESPACE,
            "--ignore-not-found",
            "-o",
            "name",
        ];
        let gone = || async {
            let found = target.kubectl.ok(&get).await?;
            Ok(found.trim().is_empty().then_some(()))
        };
        eventually("what the book owns is deleted with it", SOON, gone).await?;
    }
    target.get("secret", "by-map").await.map(drop)
}

/// A second restore finds what the first one made, and lists it.
async fn equal(target: &Place) -> Result<()> {
    let log = target
        .plane
        .audit()
        .context("there is no audit log")?
        .from_now()?;
    let again = target.restore(&["--include-namespaces", NAMESPACE]).await?;
    ensure!(
        again.warnings == 0 && again.errors == 0 && again.skipped >= MANY as u64,
        "the second restore:\n{}",
        again.text
    );
    let events = log.events(&AuditFilter::objects_of("velero/"))?;
    // The ConfigMaps of Velero's own namespace, which configure actions, are listed too and are not counted.
    let is_here = |event: &&AuditEvent| {
        let object = event.object_ref.as_ref();
        object.is_some_and(|object| ["", NAMESPACE].contains(&object.namespace.as_str()))
    };
    let maps = events
        .iter()
        .filter(|event| event.resource() == "configmaps");
    let maps: Vec<&AuditEvent> = maps.filter(is_here).collect();
    let calls = |verb: &str| maps.iter().filter(|event| event.verb == verb).count();
    let (lists, creates, gets) = (calls("list"), calls("create"), calls("get"));
    report(lists, creates, gets);
    ensure!(
        lists <= MANY / 500 + 1 && creates < MANY / 4 && gets < MANY / 4,
        "{MANY} equal objects took {lists} lists, {creates} creates and {gets} reads"
    );
    Ok(())
}

/// An object that cannot be changed is what the backup has, under the policy for that only.
async fn recreated(target: &Place) -> Result<()> {
    let delete = ["delete", "configmap", "frozen", "-n", NAMESPACE];
    target.kubectl.ok(&delete).await?;
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "data": {"a": "another"},
        "metadata": {"name": "frozen", "namespace": NAMESPACE}});
    target.kubectl.apply(&[other], &[]).await?;
    let scope = [
        "--include-namespaces",
        NAMESPACE,
        "--include-resources",
        "configmaps",
    ];
    for (policy, warnings, expected) in [
        ("none", 1, "another"),
        ("update", 1, "another"),
        ("recreate", 0, "backed up"),
    ] {
        let flags = [&scope[..], &["--existing-resource-policy", policy]].concat();
        let restored = target.restore(&flags).await?;
        let now = target.get("configmap", "frozen").await?;
        ensure!(
            now["data"]["a"] == expected && restored.warnings == warnings && restored.errors == 0,
            "after a restore with the policy {policy}: {}\n{}",
            now["data"],
            restored.text
        );
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn report(lists: usize, creates: usize, gets: usize) {
    println!(
        "  {MANY} equal objects of one kind: {lists} lists, {creates} creates that were refused, {gets} reads"
    );
}
