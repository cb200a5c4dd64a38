//! Looks at restores: what would become of each item, with nothing written.

use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_cluster::{PatchKind, WriteOptions};
use velero_core::action::{
    ActionContext, ActionError, ResourceSelector, RestoreInput, RestoreItemAction, RestoreMap,
    RestoreOutcome,
};
use velero_core::api::Restore;
use velero_core::plan::{ItemVerdict, Verdict};
use velero_restore::{
    Error, ErrorKind, ExpectedPlan, Finding, RestoreEngine, RestoreRequest, RestoreRun, Verified,
};
use velero_testkit::ApiServer;

use crate::common::*;

/// What a look has found.
pub(crate) struct Looked {
    pub(crate) items: Vec<ItemVerdict>,
    pub(crate) notes: Vec<String>,
    pub(crate) verified: Verified,
}

impl Looked {
    /// The verdict and reason for an object, by resource and path.
    #[track_caller]
    pub(crate) fn said(&self, place: &str) -> (String, &str) {
        let found: Vec<&ItemVerdict> = self.items.iter().filter(|i| i.place() == place).collect();
        assert_eq!(found.len(), 1, "{place}: {found:?}");
        (found[0].summary(), &found[0].reason)
    }

    #[track_caller]
    fn item(&self, place: &str) -> &ItemVerdict {
        self.items.iter().find(|i| i.place() == place).unwrap()
    }

    pub(crate) fn expected(&self) -> Arc<ExpectedPlan> {
        let mut expected = ExpectedPlan::default();
        self.items.iter().for_each(|item| expected.add(item));
        Arc::new(expected)
    }
}

/// Looks at a restore, and checks that nothing has been written.
pub(crate) async fn look(
    server: &ApiServer,
    engine: &RestoreEngine,
    bytes: Vec<u8>,
    request: &RestoreRequest,
) -> Looked {
    let (before, writes) = (
        server.store().resource_version(),
        server.calls().writes().len(),
    );
    let (mut items, mut notes) = (Vec::new(), Vec::new());
    let each = |finding| match finding {
        Finding::Item(item) => items.push(*item),
        Finding::Note(record) => notes.push(record.line()),
        _ => {}
    };
    let verified = engine
        .verify(request, Cursor::new(bytes), RestoreRun::default(), each)
        .await
        .unwrap();
    assert_eq!(server.store().resource_version(), before);
    assert_eq!(server.calls().writes().len(), writes);
    assert_eq!(verified.verdicts.values().sum::<u64>(), items.len() as u64);
    Looked {
        items,
        notes,
        verified,
    }
}

async fn look_at(server: &ApiServer, items: &[Value], spec: Value) -> Looked {
    look(
        server,
        &engine(server).await,
        archive(items),
        &request(spec),
    )
    .await
}

fn definition() -> Value {
    let mut crd = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        "books.library.example.com",
    );
    crd["spec"] = json!({"group": "library.example.com", "scope": "Namespaced",
        "names": {"kind": "Book", "plural": "books", "singular": "book", "listKind": "BookList"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]});
    crd
}

/// Objects of the cluster that items of [`items`] come to.
fn seed(server: &ApiServer) {
    let map = |name: &str, value: &str| {
        let mut map = object("v1", "ConfigMap", "default", name);
        map["data"] = json!({"key": value});
        map
    };
    let mut frozen = map("frozen", "theirs");
    frozen["immutable"] = json!(true);
    let mut holder = object("v1", "Service", "default", "holder");
    holder["spec"] = json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP", "targetPort": 80}]});
    let mut dying = object("v1", "Namespace", "", "dying");
    dying["metadata"]["finalizers"] = json!(["example.com/wait"]);
    dying["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    dying["status"] = json!({"phase": "Terminating"});
    for seeded in [
        map("equal", "equal"),
        map("differs", "theirs"),
        frozen,
        holder,
        dying,
        object("v1", "ServiceAccount", "default", "united"),
        namespace("same"),
    ] {
        server.store().seed_value(seeded).unwrap();
    }
}

fn items() -> Vec<Value> {
    let plain = |name: &str| {
        let mut map = config_map("default", name);
        map["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("managedFields");
        map
    };
    let mut frozen = plain("frozen");
    frozen["immutable"] = json!(true);
    let mut taken = object("v1", "Service", "default", "taken");
    taken["spec"] = json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP", "targetPort": 80}]});
    let mut united = object("v1", "ServiceAccount", "default", "united");
    united["imagePullSecrets"] = json!([{"name": "pull"}]);
    let mut done = object("v1", "Pod", "default", "done");
    done["status"] = json!({"phase": "Succeeded"});
    vec![
        namespace("shop"),
        namespace("default"),
        namespace("dying"),
        namespace("same"),
        definition(),
        plain("absent"),
        plain("equal"),
        plain("differs"),
        frozen,
        taken,
        united,
        done,
        config_map("shop", "new"),
        config_map("dying", "late"),
        object("v1", "ServiceAccount", "shop", "default"),
        object("library.example.com/v1", "Book", "default", "b1"),
        object("gone.example.com/v1", "Thing", "default", "t1"),
        object("v1", "Node", "", "n1"),
        object("v1", "ConfigMap", "default", "kube-root-ca.crt"),
    ]
}

#[tokio::test]
async fn every_item_has_its_verdict_and_comes_out_so() {
    for (policy, differs, frozen) in [
        ("none", "conflict", "conflict"),
        ("update", "update", "conflict"),
    ] {
        let server = ApiServer::new();
        seed(&server);
        let spec = json!({"existingResourcePolicy": policy, "preserveNodePorts": true});
        let began = Instant::now();
        let found = look_at(&server, &items(), spec.clone()).await;
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "nothing is waited for"
        );
        for (place, summary, reason) in [
            ("configmaps default/absent", "create", ""),
            (
                "configmaps default/equal",
                "skip-identical",
                "as it is in the backup",
            ),
            ("configmaps default/differs", differs, ""),
            ("configmaps default/frozen", frozen, ""),
            ("services default/taken", "blocked", "already allocated"),
            ("serviceaccounts default/united", "update", ""),
            ("pods default/done", "excluded", "has run to its end"),
            ("namespaces shop", "create", ""),
            (
                "namespaces default",
                "conflict",
                "no restore changes a namespace that is there",
            ),
            (
                "namespaces same",
                "skip-identical",
                "as it is in the backup",
            ),
            ("namespaces dying", "blocked", "is being deleted"),
            (
                "configmaps shop/new",
                "create, unverified",
                "the restore creates its namespace shop",
            ),
            (
                "configmaps dying/late",
                "blocked",
                "namespace dying is being deleted; a restore waits for up to 5s",
            ),
            (
                "serviceaccounts shop/default",
                "skip-identical, unverified",
                "the cluster makes its own",
            ),
            (
                "customresourcedefinitions.apiextensions.k8s.io books.library.example.com",
                "create",
                "",
            ),
            (
                "books.library.example.com default/b1",
                "create, unverified",
                "its definition books.library.example.com",
            ),
            (
                "things.gone.example.com default/t1",
                "blocked",
                "does not serve things.gone.example.com",
            ),
            ("nodes n1", "excluded", "never restored"),
            (
                "configmaps default/kube-root-ca.crt",
                "excluded",
                "provided by the cluster",
            ),
        ] {
            let (said, why) = found.said(place);
            assert_eq!(said, summary, "{policy} {place}: {why}");
            assert!(why.contains(reason), "{policy} {place}: {why}");
        }
        assert_eq!(found.notes, Vec::<String>::new());
        let errors = found.items.iter().filter(|item| item.error).count() as u64;
        assert_eq!((errors, found.verified.errors), (4, 4));
        outcomes_agree(&server, &found, spec).await;
    }
}

/// Restores, and compares what came of each item with what was said.
async fn outcomes_agree(server: &ApiServer, found: &Looked, spec: Value) {
    let mut options = options();
    options.terminating_timeout = Duration::from_millis(50);
    let engine = engine(server).await.options(options);
    let result = run(&engine, archive(&items()), &request(spec)).await;
    for item in &found.items {
        let path = match item.namespace.as_str() {
            "" => item.name.clone(),
            namespace => format!("{namespace}/{}", item.name),
        };
        let entries = entries(&result, &item.kind);
        let action = entries
            .iter()
            .find_map(|entry| entry.strip_prefix(&path)?.strip_prefix('('))
            .map(|action| action.trim_end_matches(')').to_owned());
        let expected: &[Option<&str>] = match item.verdict {
            Verdict::Create => &[Some("created")],
            Verdict::Update => &[Some("updated")],
            Verdict::SkipIdentical => &[Some("skipped"), None],
            // Namespaces that are there are not listed.
            Verdict::Conflict if item.resource == "namespaces" => &[None],
            Verdict::Conflict => &[Some("failed")],
            Verdict::Blocked => &[Some("failed"), None],
            _ => &[Some("skipped"), None],
        };
        assert!(
            expected.contains(&action.as_deref()),
            "{item:?}: {action:?}"
        );
    }
    let errors = errors(&result);
    assert_eq!(errors.len() as u64, found.verified.errors, "{errors:?}");
    let warnings = warnings(&result);
    for item in found
        .items
        .iter()
        .filter(|i| i.verdict == Verdict::Conflict)
    {
        let name = format!("name: /{} ", item.name);
        let is_told = warnings.iter().any(|warning| warning.contains(&name));
        assert!(is_told, "{item:?}: {warnings:?}");
    }
}

#[tokio::test]
async fn a_namespace_that_differs_is_left_whatever_the_policy() {
    for policy in ["none", "update", "recreate"] {
        let server = ApiServer::new();
        let mut live = namespace("shop");
        live["metadata"]["labels"]["team"] = json!("red");
        let live = server.store().seed_value(live).unwrap();
        let items = [namespace("shop"), config_map("shop", "m")];
        let mut spec = json!({"backupName": "b1"});
        spec["existingResourcePolicy"] = match policy {
            "recreate" => json!("update"),
            other => json!(other),
        };
        let mut restore: velero_core::api::Restore = serde_json::from_value(
            json!({"metadata": {"name": "r1", "namespace": "velero"}, "spec": spec}),
        )
        .unwrap();
        if policy == "recreate" {
            velero_restore::ExistingPolicy::Recreate.apply(&mut restore);
        }
        let request = RestoreRequest::resolve(restore).unwrap();
        let engine = engine(&server).await;
        let found = look(&server, &engine, archive(&items), &request).await;
        let item = found.item("namespaces shop");
        assert_eq!((item.verdict, item.error), (Verdict::Conflict, false));
        assert_eq!(
            serde_json::to_value(&item.differences).unwrap(),
            json!([{"path": "metadata.labels.team", "live": "red", "wanted": "green"}])
        );
        let result = run(&engine, archive(&items), &request).await;
        assert_eq!(errors(&result), Vec::<String>::new());
        let warnings = warnings(&result);
        assert!(
            warnings.len() == 1
                && warnings[0].contains("namespaces name: /shop")
                && warnings[0].contains("no restore changes a namespace that is there"),
            "{policy} {warnings:?}"
        );
        let after = server.store().get("v1", "Namespace", None, "shop").unwrap();
        assert_eq!(
            after["metadata"]["resourceVersion"],
            live["metadata"]["resourceVersion"]
        );
    }
}

#[tokio::test]
async fn differences_are_named() {
    let server = ApiServer::new();
    seed(&server);
    let found = look_at(&server, &items(), json!({})).await;
    let item = found.item("configmaps default/differs");
    assert_eq!(
        serde_json::to_value(&item.differences).unwrap(),
        json!([{"path": "data.key", "live": "theirs", "wanted": "differs"}])
    );
    let live = item.live.as_ref().unwrap();
    assert!(!live.uid.is_empty() && !live.resource_version.is_empty() && !live.content.is_empty());
    assert!(
        found
            .item("configmaps default/equal")
            .differences
            .is_empty()
    );
    assert!(found.item("configmaps default/absent").live.is_none());
}

#[tokio::test]
async fn an_item_costs_one_try() {
    let server = ApiServer::new();
    let maps: Vec<Value> = (0..50)
        .map(|n| config_map("default", &format!("n{n}")))
        .collect();
    let engine = engine(&server).await;
    server.calls().reset();
    let found = look(&server, &engine, archive(&maps), &request(json!({}))).await;
    assert_eq!(found.verified.verdicts[&Verdict::Create], 50);
    assert_eq!(server.calls().count("create", "configmaps"), 50);
    assert!(
        server
            .calls()
            .log()
            .iter()
            .all(|c| c.dry_run || c.verb == "get")
    );
    assert_eq!(server.calls().count("get", "configmaps"), 0);
    assert_eq!(server.calls().total(), 51, "{:?}", server.calls().counts());
}

/// An action that says nothing of its effects.
struct Sender;

#[async_trait]
impl RestoreItemAction for Sender {
    fn name(&self) -> &str {
        "example.com/send"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["configmaps"])
    }

    async fn execute(
        &self,
        _: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        Err(ActionError::new(
            "it must not run while a plan is looked at",
        ))
    }
}

#[tokio::test]
async fn actions_that_may_have_effects_are_named_instead_of_run() {
    let server = ApiServer::new();
    seed(&server);
    let renaming = RestoreMap::new(
        "example.com/name",
        ResourceSelector::resources(["configmaps"]),
        |mut item| {
            item.set_label("seen", "yes");
            Ok(item)
        },
    );
    let engine = engine(&server).await.action(renaming).action(Sender);
    let found = look(&server, &engine, archive(&items()), &request(json!({}))).await;
    assert_eq!(
        found.said("configmaps default/absent").0,
        "create, subject to example.com/send"
    );
    let differs = found.item("configmaps default/differs");
    assert_eq!(differs.summary(), "conflict, subject to example.com/send");
    // The action without effects has run.
    assert!(
        differs
            .differences
            .iter()
            .any(|d| d.path == "metadata.labels"),
        "{differs:?}"
    );
    assert_eq!(found.said("serviceaccounts default/united").0, "update");
}

#[tokio::test]
async fn values_of_secrets_stay_hidden() {
    let server = ApiServer::new();
    let secret = |value: &str| {
        let mut secret = object("v1", "Secret", "default", "key");
        secret["type"] = json!("Opaque");
        secret["data"] = json!({"key": value});
        secret
    };
    server.store().seed_value(secret("dGhlaXJz")).unwrap();
    let found = look_at(&server, &[secret("b3Vycw==")], json!({})).await;
    let item = found.item("secrets default/key");
    assert_eq!(item.verdict, Verdict::Conflict);
    let text = serde_json::to_string(item).unwrap();
    assert!(
        text.contains("data.key") && !text.contains("dGhlaXJz") && !text.contains("b3Vycw"),
        "{text}"
    );
}

async fn run_expecting(
    server: &ApiServer,
    expected: Arc<ExpectedPlan>,
    spec: Value,
) -> Result<velero_restore::RestoreResult, Error> {
    let run = RestoreRun::default().expecting(expected);
    engine(server)
        .await
        .run(&request(spec), Cursor::new(archive(&world())), run)
        .await
}

/// Changes a ConfigMap.
async fn patch(server: &ApiServer, name: &str, patch: Value) {
    let cluster = cluster(server).await;
    let catalog = cluster.catalog();
    let maps = catalog.resolve("configmaps").unwrap();
    let (body, options) = (patch.to_string().into(), WriteOptions::default());
    cluster
        .patch(
            maps,
            "default",
            name,
            PatchKind::Merge,
            None,
            body,
            &options,
        )
        .await
        .unwrap();
}

/// Items without a namespace that takes its time.
fn world() -> Vec<Value> {
    let mut items = items();
    items.retain(|item| {
        item["metadata"]["namespace"] != "dying" && item["metadata"]["name"] != "dying"
    });
    items
}

#[tokio::test]
async fn a_plan_is_carried_out_while_the_world_stands_still() {
    let server = ApiServer::new();
    seed(&server);
    let spec = json!({"existingResourcePolicy": "update"});
    let found = look_at(&server, &world(), spec.clone()).await;
    // Bookkeeping does not move the world.
    let labels = json!({"metadata": {"labels": {"velero.io/restore-name": "another"}}});
    patch(&server, "equal", labels).await;
    let result = run_expecting(&server, found.expected(), spec)
        .await
        .unwrap();
    assert_eq!(
        result.counts.updated,
        found.verified.verdicts[&Verdict::Update]
    );
    assert!(
        server
            .store()
            .get("v1", "ConfigMap", Some("default"), "absent")
            .is_some()
    );
}

#[tokio::test]
async fn a_plan_in_which_two_namespaces_become_one_is_carried_out() {
    let server = ApiServer::new();
    let items = [
        namespace("a"),
        namespace("b"),
        config_map("a", "same"),
        config_map("b", "same"),
        config_map("b", "other"),
    ];
    let spec = json!({"namespaceMapping": {"a": "one", "b": "one"}});
    let found = look_at(&server, &items, spec.clone()).await;
    assert_eq!(found.verified.verdicts[&Verdict::Excluded], 2);
    let run = RestoreRun::default().expecting(found.expected());
    let bytes = Cursor::new(archive(&items));
    let result = engine(&server)
        .await
        .run(&request(spec), bytes, run)
        .await
        .unwrap();
    assert_eq!(
        entries(&result, "v1/ConfigMap"),
        ["one/other(created)", "one/same(created)"]
    );
}

#[tokio::test]
async fn a_plan_is_refused_by_name_when_the_world_has_moved() {
    let server = ApiServer::new();
    seed(&server);
    let spec = json!({"existingResourcePolicy": "update"});
    let found = look_at(&server, &world(), spec.clone()).await;
    patch(&server, "differs", json!({"data": {"key": "another's"}})).await;
    server
        .store()
        .seed_value(config_map("default", "absent"))
        .unwrap();
    let before = server.store().resource_version();
    let error = run_expecting(&server, found.expected(), spec.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Moved);
    let text = error.to_string();
    assert!(
        text.contains("configmaps default/differs (now: update)")
            && text.contains("configmaps default/absent (now: skip-identical)")
            && !text.contains("default/equal"),
        "{text}"
    );
    assert_eq!(server.store().resource_version(), before);
    // Another spec is another plan.
    let error = run_expecting(&server, found.expected(), json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Moved);
}

#[tokio::test]
async fn what_is_asked_for_and_what_stands_for_nothing_is_noted() {
    let server = ApiServer::new();
    let mut pod = object("v1", "Pod", "default", "web");
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}], "priorityClassName": "lost"});
    let spec = json!({"includedNamespaces": ["default", "nowhere"]});
    let found = look_at(&server, &[pod], spec).await;
    let all = found.notes.join("\n");
    assert!(
        all.contains("nowhere") && all.contains("priorityclasses"),
        "{all}"
    );
}

#[tokio::test]
async fn entries_that_are_no_objects_are_blocked() {
    let server = ApiServer::new();
    let options = velero_core::archive::ArchiveWriterOptions::default();
    let mut writer = velero_core::archive::ArchiveWriter::new(Vec::new(), options).unwrap();
    let good = config_map("default", "good");
    add(&mut writer, &path_of(&good), good.to_string().as_bytes());
    add(&mut writer, &path_of(&config_map("default", "bad")), b"[1]");
    let bytes = writer.finish().unwrap();
    let found = look(&server, &engine(&server).await, bytes, &request(json!({}))).await;
    let (said, why) = found.said("configmaps default/bad");
    assert!(
        said == "blocked" && why.contains("cannot be decoded"),
        "{said} {why}"
    );
    assert_eq!(found.said("configmaps default/good").0, "create");
}
