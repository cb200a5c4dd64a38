//! Objects that cannot be changed, under the policy `recreate`.

use std::time::Duration;

use serde_json::{Value, json};
use velero_core::api::Restore;
use velero_restore::{ExistingPolicy, RestoreRequest, RestoreResult};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;

pub(crate) fn recreate() -> RestoreRequest {
    let restore =
        json!({"metadata": {"name": "r1", "namespace": "velero"}, "spec": {"backupName": "b1"}});
    let mut restore: Restore = serde_json::from_value(restore).unwrap();
    ExistingPolicy::Recreate.apply(&mut restore);
    RestoreRequest::resolve(restore).unwrap()
}

pub(crate) async fn recreated(server: &ApiServer, items: &[Value]) -> RestoreResult {
    let engine = engine(server).await;
    server.calls().reset();
    run(&engine, archive(items), &recreate()).await
}

/// A Secret, whose type cannot change.
pub(crate) fn secret(kind: &str) -> Value {
    let mut secret = object("v1", "Secret", "default", "keys");
    secret["type"] = json!(kind);
    secret["data"] = json!({"key": "eA=="});
    secret
}

fn live(server: &ApiServer) -> Value {
    server
        .store()
        .get("v1", "Secret", Some("default"), "keys")
        .unwrap()
}

/// The verbs of all writes since the last reset.
fn writes(server: &ApiServer) -> Vec<String> {
    let calls = server.calls().writes();
    calls.iter().map(|call| call.verb.clone()).collect()
}

#[tokio::test]
async fn what_cannot_be_changed_is_created_anew() {
    let server = ApiServer::new();
    let old = server
        .store()
        .seed_value(secret("example.com/old"))
        .unwrap();
    let result = recreated(&server, &[secret("example.com/new")]).await;
    assert_clean(&result);
    assert_eq!(entries(&result, "v1/Secret"), ["default/keys(created)"]);
    assert_eq!(writes(&server), ["create", "patch", "delete", "create"]);
    let now = live(&server);
    assert_eq!(now["type"], json!("example.com/new"));
    assert_ne!(now["metadata"]["uid"], old["metadata"]["uid"]);
    assert_eq!(
        now["metadata"]["labels"]["velero.io/restore-name"],
        json!("r1")
    );

    // What can be changed is, and what is equal stays.
    let mut changed = secret("example.com/new");
    changed["data"] = json!({"key": "eQ=="});
    let result = recreated(&server, &[changed.clone()]).await;
    assert_eq!((result.counts.updated, result.warnings()), (1, 0));
    assert_eq!(writes(&server), ["create", "patch"]);
    let result = recreated(&server, &[changed]).await;
    assert_eq!((result.counts.skipped, result.warnings()), (1, 0));
    assert_eq!(live(&server)["metadata"]["uid"], now["metadata"]["uid"]);
}

#[tokio::test]
async fn the_old_object_may_take_its_time_to_go() {
    let server = ApiServer::new();
    let mut old = secret("example.com/old");
    old["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.store().seed_value(old).unwrap();
    let store = server.store();
    let lift = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(30)).await;
            let held = store.get("v1", "Secret", Some("default"), "keys");
            if held.is_some_and(|h| h["metadata"]["deletionTimestamp"].is_string()) {
                store.remove("v1", "Secret", Some("default"), "keys");
                return;
            }
        }
    });
    let result = recreated(&server, &[secret("example.com/new")]).await;
    lift.await.unwrap();
    assert_clean(&result);
    assert_eq!(live(&server)["type"], json!("example.com/new"));
}

#[tokio::test]
async fn an_object_that_does_not_go_is_an_error_that_says_what_holds_it() {
    let server = ApiServer::new();
    let mut old = secret("example.com/old");
    old["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.store().seed_value(old).unwrap();
    let options = options().terminating_timeout(Duration::from_millis(100));
    let engine = engine(&server).await.options(options);
    let items = archive(&[secret("example.com/new")]);
    let result = run(&engine, items, &recreate()).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].contains("still there")
            && errors[0].contains("example.com/hold"),
        "{errors:?}"
    );
    assert_eq!(entries(&result, "v1/Secret"), ["default/keys(failed)"]);
}

#[tokio::test]
async fn an_object_that_cannot_be_created_is_put_back() {
    let server = ApiServer::new();
    let mut old = secret("example.com/old");
    old["metadata"]["labels"] = json!({"mine": "1"});
    server.store().seed_value(old).unwrap();
    // The first creation finds the old one, the second one is the new object.
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("create")
            .resource("secrets")
            .skip(1)
            .times(1),
    );
    let result = recreated(&server, &[secret("example.com/new")]).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 1 && errors[0].contains("the one that was there has been put back"),
        "{errors:?}"
    );
    let now = live(&server);
    assert_eq!(now["type"], json!("example.com/old"));
    assert_eq!(now["metadata"]["labels"], json!({"mine": "1"}));
}

#[tokio::test]
async fn nothing_is_deleted_for_an_object_that_would_be_refused() {
    let server = ApiServer::new();
    let old = server
        .store()
        .seed_value(secret("example.com/old"))
        .unwrap();
    let mut bad = secret("example.com/new");
    bad["metadata"]["labels"] = json!({"app": "no value of a label!"});
    let result = recreated(&server, &[bad]).await;
    assert_eq!((result.warnings(), result.errors()), (1, 0));
    assert_eq!(server.calls().count_verb("delete"), 0);
    assert_eq!(live(&server)["metadata"]["uid"], old["metadata"]["uid"]);
}

#[tokio::test]
async fn claims_definitions_and_what_the_cluster_provides_are_never_deleted() {
    let server = ApiServer::new();
    let claim = |class: &str| {
        let mut claim = object("v1", "PersistentVolumeClaim", "default", "data");
        claim["spec"] = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": class});
        claim
    };
    let class = |value: i64| {
        let mut class = object(
            "scheduling.k8s.io/v1",
            "PriorityClass",
            "",
            "system-node-critical",
        );
        class["value"] = json!(value);
        class
    };
    server.store().seed_value(claim("one")).unwrap();
    let result = recreated(&server, &[claim("two"), class(7)]).await;
    let warnings = warnings(&result);
    assert!(
        warnings.len() == 1 && warnings[0].contains("its data could be deleted with it"),
        "{warnings:?}"
    );
    assert_eq!(server.calls().count_verb("delete"), 0);
    let entries = entries(&result, "scheduling.k8s.io/v1/PriorityClass");
    assert_eq!(entries, ["system-node-critical(skipped)"]);
}

#[tokio::test]
async fn only_what_users_have_made_is_deleted_to_be_created_anew() {
    const RBAC: &str = "rbac.authorization.k8s.io/v1";
    let marked = |mut object: Value| {
        object["metadata"]["labels"] = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
        object["metadata"]["annotations"] =
            json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
        object
    };
    // What a binding refers to cannot be changed.
    let binding = |name: &str, role: &str| {
        let mut binding = object(RBAC, "ClusterRoleBinding", "", name);
        binding["roleRef"] =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
        binding["subjects"] =
            json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "team"}]);
        binding
    };
    let role = |rules: Value| {
        let mut role = object(RBAC, "ClusterRole", "", "system:readers");
        role["rules"] = rules;
        marked(role)
    };
    let service = |priority: i64| {
        let mut service = object(
            "apiregistration.k8s.io/v1",
            "APIService",
            "",
            "v1.library.example.com",
        );
        service["metadata"]["labels"] =
            json!({"kube-aggregator.kubernetes.io/automanaged": "true"});
        service["spec"] = json!({"group": "library.example.com", "version": "v1",
            "groupPriorityMinimum": priority, "versionPriority": 10});
        service
    };
    let server = ApiServer::new();
    let before = [
        binding("mine", "view"),
        marked(binding("system:theirs", "view")),
        role(json!([])),
        service(1000),
    ];
    for object in &before {
        server.store().seed_value(object.clone()).unwrap();
    }
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
    let items = [
        binding("mine", "edit"),
        marked(binding("system:theirs", "edit")),
        role(rules),
        service(2000),
    ];
    let result = recreated(&server, &items).await;
    let warnings = warnings(&result);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (warning, name) in warnings.iter().zip(["system:theirs", "system:readers"]) {
        assert!(
            warning.contains(name) && warning.contains("the cluster provides it"),
            "{warning}"
        );
    }
    assert_eq!(errors(&result), Vec::<String>::new());

    let changed = server.calls().writes().into_iter();
    let changed: Vec<_> = changed
        .filter(|call| call.verb != "create" && !call.dry_run)
        .map(|call| (call.verb, call.resource, call.name.unwrap_or_default()))
        .filter(|(verb, _, name)| verb == "delete" || name != "mine")
        .collect();
    let deleted = ("delete", "clusterrolebindings", "mine");
    assert_eq!(
        changed,
        [(deleted.0.into(), deleted.1.into(), deleted.2.into())]
    );
    let live = |object: &Value, field: &str| {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned()
        };
        let (version, kind) = (text("/apiVersion"), text("/kind"));
        let found = server
            .store()
            .get(&version, &kind, None, &text("/metadata/name"));
        found.unwrap()[field].clone()
    };
    assert_eq!(live(&items[0], "roleRef"), items[0]["roleRef"]);
    assert_eq!(live(&before[1], "roleRef"), before[1]["roleRef"]);
    assert_eq!(live(&before[2], "rules"), before[2]["rules"]);
    assert_eq!(
        live(&before[3], "spec")["groupPriorityMinimum"],
        json!(1000)
    );
    let provided = entries(&result, "apiregistration.k8s.io/v1/APIService");
    assert_eq!(provided, ["v1.library.example.com(skipped)"]);
}

#[tokio::test]
async fn what_lists_have_shown_is_asked_for_before_it_is_deleted() {
    let server = ApiServer::new();
    let named = |n: usize, kind: &str| {
        let mut secret = secret(kind);
        secret["metadata"]["name"] = json!(format!("s{n:02}"));
        secret
    };
    let mut items = Vec::new();
    for n in 0..40 {
        server
            .store()
            .seed_value(named(n, "example.com/old"))
            .unwrap();
        items.push(named(n, "example.com/new"));
    }
    let mut options = options().list_existing_after(4);
    options.items_in_flight = 4;
    let engine = engine(&server).await.options(options);
    server.calls().reset();
    let result = run(&engine, archive(&items), &recreate()).await;
    assert_clean(&result);
    assert_eq!(result.counts.created, 40);
    let calls = server.calls();
    assert_eq!(
        (
            calls.count("list", "secrets"),
            calls.count("delete", "secrets")
        ),
        (1, 40)
    );
    assert!(
        calls
            .log()
            .iter()
            .any(|call| call.verb == "create" && call.dry_run)
    );
}

#[tokio::test]
async fn services_get_and_lose_their_address_by_being_created_anew_alone() {
    let service = |spec: Value| {
        let mut service = object("v1", "Service", "default", "web");
        service["spec"] = spec;
        service["spec"]["ports"] =
            json!([{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}]);
        service
    };
    let headless = || service(json!({"clusterIP": "None", "clusterIPs": ["None"]}));
    let addressed = || service(json!({}));
    for (live, wanted, why) in [
        (
            addressed(),
            headless(),
            "a service that has an address cannot become headless",
        ),
        (
            headless(),
            addressed(),
            "a headless service cannot be given an address",
        ),
    ] {
        let server = ApiServer::new();
        server.store().seed_value(live).unwrap();
        let items = std::slice::from_ref(&wanted);
        let update = json!({"existingResourcePolicy": "update"});
        let result = restore(&server, items, update).await;
        let warnings = warnings(&result);
        assert!(
            warnings.len() == 1 && warnings[0].contains(why),
            "{warnings:?}"
        );
        let address = |server: &ApiServer| {
            let live = server.store().get("v1", "Service", Some("default"), "web");
            live.unwrap()["spec"]["clusterIP"].clone()
        };
        let is_headless = wanted["spec"]["clusterIP"] == "None";
        assert_ne!(address(&server) == "None", is_headless);

        let result = recreated(&server, items).await;
        assert_clean(&result);
        assert_eq!(entries(&result, "v1/Service"), ["default/web(created)"]);
        assert_eq!(writes(&server), ["create", "delete", "create"]);
        assert_eq!(address(&server) == "None", is_headless);
    }
}
