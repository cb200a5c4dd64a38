//! What an action is given of an item and of its restore, and in which order an item is changed.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_core::action::{
    ActionContext, ActionError, ResourceSelector, RestoreInput, RestoreItemAction, RestoreMap,
    RestoreOutcome,
};
use velero_core::api::{Restore, UploaderConfigForRestore};
use velero_core::modifier::ResourceModifiers;
use velero_testkit::ApiServer;

use crate::common::*;

/// An action that leaves its name on each object that it is given.
fn marks(name: &'static str, selector: ResourceSelector) -> impl RestoreItemAction + 'static {
    RestoreMap::new(format!("example.com/{name}"), selector, move |mut item| {
        item.set_annotation(name, "seen");
        Ok(item)
    })
}

fn maps() -> ResourceSelector {
    ResourceSelector::resources(["configmaps"])
}

#[track_caller]
fn live(server: &ApiServer, namespace: &str, name: &str) -> Value {
    let found = server.store().get("v1", "ConfigMap", Some(namespace), name);
    found.unwrap()
}

/// The actions that have left their name on an object.
#[track_caller]
fn marks_on(server: &ApiServer, namespace: &str, name: &str) -> Vec<String> {
    let live = live(server, namespace, name);
    let annotations = live["metadata"]["annotations"].as_object();
    let mut marks: Vec<String> = annotations
        .into_iter()
        .flat_map(|all| all.keys().cloned())
        .collect();
    marks.sort();
    marks
}

#[tokio::test]
async fn namespaces_of_actions_are_those_that_objects_come_to() {
    let selected = |included: &[&str], excluded: &[&str]| {
        let mut selector = maps();
        selector.included_namespaces = included.iter().map(|n| (*n).to_owned()).collect();
        selector.excluded_namespaces = excluded.iter().map(|n| (*n).to_owned()).collect();
        selector
    };
    let server = ApiServer::new();
    let engine = engine(&server)
        .await
        .action(marks("in-source", selected(&["shop"], &[])))
        .action(marks("in-target", selected(&["copy"], &[])))
        .action(marks("not-source", selected(&[], &["shop"])))
        .action(marks("not-target", selected(&[], &["copy"])));
    let items = [
        namespace("shop"),
        namespace("other"),
        config_map("shop", "a"),
        config_map("other", "a"),
    ];
    let request = request(json!({"namespaceMapping": {"shop": "copy"}}));
    assert_clean(&run(&engine, archive(&items), &request).await);
    assert_eq!(
        marks_on(&server, "copy", "a"),
        ["in-target", "not-source"],
        "mapped"
    );
    assert_eq!(
        marks_on(&server, "other", "a"),
        ["not-source", "not-target"],
        "not mapped"
    );
}

#[tokio::test]
async fn labels_of_actions_are_those_that_actions_before_them_have_left() {
    let label = |name: &str, label: Option<&'static str>| {
        RestoreMap::new(format!("example.com/{name}"), maps(), move |mut item| {
            match label {
                Some(value) => item
                    .object_mut("metadata")
                    .insert("labels".into(), json!({"app": value})),
                None => item.metadata_mut().remove("labels"),
            };
            Ok(item)
        })
    };
    let web = || maps().labels("app=web".parse().unwrap());
    let server = ApiServer::new();
    // Actions run in the order of their registration.
    let engine = engine(&server)
        .await
        .action(marks("before", web()))
        .action(label("puts-on", Some("web")))
        .action(marks("between", web()))
        .action(label("takes-off", None))
        .action(marks("after", web()));
    let mut labelled = config_map("default", "labelled");
    labelled["metadata"]["labels"] = json!({"app": "web"});
    let items = [labelled, config_map("default", "plain")];
    assert_clean(&run_items(&engine, &items).await);
    assert_eq!(
        marks_on(&server, "default", "labelled"),
        ["before", "between"]
    );
    assert_eq!(marks_on(&server, "default", "plain"), ["between"]);
}

#[tokio::test]
async fn modifiers_come_after_actions() {
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let action = RestoreMap::new("example.com/first", maps(), {
        let seen = Arc::clone(&seen);
        move |mut item| {
            let data = item.object_mut("data");
            let before = data.insert("key".into(), json!("of the action"));
            seen.lock().unwrap().extend(before);
            Ok(item)
        }
    });
    let rules = json!({"version": "v1", "resourceModifierRules": [{
        "conditions": {"groupResource": "configmaps",
            "matches": [{"path": "/data/key", "value": "of the action"}]},
        "patches": [{"operation": "replace", "path": "/data/key", "value": "of the rule"}],
    }]});
    let rules = ResourceModifiers::parse(&rules.to_string()).unwrap();
    let server = ApiServer::new();
    let engine = engine(&server).await.action(action);
    let items = archive(&[config_map("default", "a")]);
    let result = run(&engine, items, &request(json!({})).modifiers(rules)).await;
    assert_clean(&result);
    assert_eq!(*seen.lock().unwrap(), [json!("a")]);
    let live = live(&server, "default", "a");
    assert_eq!(live["data"], json!({"key": "of the rule"}));
}

/// What actions find in the spec of their restore.
#[derive(Clone, Default)]
struct Asks(Arc<Mutex<Vec<Option<UploaderConfigForRestore>>>>);

#[async_trait]
impl RestoreItemAction for Asks {
    fn name(&self) -> &str {
        "example.com/asks"
    }

    fn applies_to(&self) -> ResourceSelector {
        maps()
    }

    async fn execute(
        &self,
        input: RestoreInput,
        cx: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let found = cx.run.spec.uploader_config.clone();
        self.0.lock().unwrap().push(found);
        Ok(RestoreOutcome::create(input.item))
    }
}

#[tokio::test]
async fn actions_are_told_how_data_is_to_be_brought_back() {
    for (given, sparse, files) in [
        (
            json!({"writeSparseFiles": true, "parallelFilesDownload": 7}),
            Some(true),
            7,
        ),
        (json!({"writeSparseFiles": false}), Some(false), 0),
        (json!({}), None, 0),
    ] {
        let asks = Asks::default();
        let server = ApiServer::new();
        let engine = engine(&server).await.action(asks.clone());
        let items = archive(&[config_map("default", "a")]);
        let request = request(json!({"uploaderConfig": given}));
        assert_clean(&run(&engine, items, &request).await);
        let found = asks.0.lock().unwrap().clone();
        let wanted = UploaderConfigForRestore {
            write_sparse_files: sparse,
            parallel_files_download: files,
        };
        assert_eq!(found, [Some(wanted)], "{given}");
    }
}
