//! Actions that see the items of a backup that is deleted.

use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use velero_core::action::{ActionContext, ActionError, DeleteItemAction, ResourceSelector, text};
use velero_core::api::Backup;
use velero_core::archive::{ArchiveWriter, ArchiveWriterOptions, ItemPath};
use velero_core::{CancellationToken, GroupResource, ItemTree, ResourceIdentifier};
use velero_restore::{DeletionPass, DeletionResult, ErrorKind, RestoreOptions};
use velero_testkit::ApiServer;

use crate::common::{add, archive, cluster, config_map, object};

/// Notes what it sees. An item whose data tells it so fails, panics, hangs, or has the cluster read.
struct Notes {
    name: &'static str,
    selector: ResourceSelector,
    seen: Arc<Mutex<Vec<String>>>,
}

#[async_trait::async_trait]
impl DeleteItemAction for Notes {
    fn name(&self) -> &str {
        self.name
    }

    fn applies_to(&self) -> ResourceSelector {
        self.selector.clone()
    }

    async fn execute(
        &self,
        item: &ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<(), ActionError> {
        let what = text(&item.as_value()["data"], "do").to_owned();
        let backup = cx.run.metadata.name.as_deref().unwrap_or_default();
        let line = format!(
            "{} {backup} {}/{}",
            self.name,
            item.namespace(),
            item.name()
        );
        self.seen.lock().unwrap().push(line);
        match what.as_str() {
            "fail" => Err(ActionError::new("the storage is away")),
            "panic" => panic!("on purpose"),
            "hang" => std::future::pending().await,
            "read" => {
                let map = GroupResource::core("configmaps");
                let id = ResourceIdentifier::namespaced(map, "default", "live");
                let live = cx.cluster.get(&id).await?;
                live.map(drop).ok_or_else(|| ActionError::new("nothing"))
            }
            _ => Ok(()),
        }
    }
}

type Seen = Arc<Mutex<Vec<String>>>;

fn notes(name: &'static str, resource: &str, seen: &Seen) -> Notes {
    let selector = ResourceSelector::resources([resource]);
    let seen = Arc::clone(seen);
    Notes {
        name,
        selector,
        seen,
    }
}

fn told(name: &str, what: &str) -> Value {
    let mut map = config_map("default", name);
    map["data"] = json!({"do": what});
    map
}

async fn see(server: &ApiServer, archive: Vec<u8>, actions: Vec<Notes>) -> DeletionResult {
    let actions = actions.into_iter().map(|action| Arc::new(action) as _);
    let options = RestoreOptions::default().action_timeout(Duration::from_millis(200));
    let pass = DeletionPass::new(cluster(server).await)
        .actions(actions)
        .options(options);
    let mut backup = Backup::default();
    backup.metadata.name = Some("b".to_owned());
    pass.run(backup, Cursor::new(archive), CancellationToken::new())
        .await
        .unwrap()
}

fn seen_lines(seen: &Seen) -> Vec<String> {
    let mut lines = seen.lock().unwrap().clone();
    lines.sort();
    lines
}

#[tokio::test]
async fn actions_see_the_items_that_they_want() {
    let server = ApiServer::new();
    let seen = Seen::default();
    let mut labelled = told("labelled", "");
    labelled["metadata"]["labels"] = json!({"app": "shop"});
    let items = [
        told("plain", ""),
        labelled,
        object("v1", "Secret", "default", "secret"),
        object("v1", "Node", "", "node"),
    ];
    let mut narrow = notes("narrow", "cm", &seen);
    narrow.selector = narrow.selector.labels("app=shop".parse().unwrap());
    let mut elsewhere = notes("elsewhere", "configmaps", &seen);
    elsewhere.selector.included_namespaces = vec!["other".to_owned()];
    let mut spaces = notes("spaces", "*", &seen);
    spaces.selector.included_namespaces = vec!["default".to_owned()];
    let actions = vec![narrow, elsewhere, spaces, notes("nodes", "nodes", &seen)];
    let result = see(&server, archive(&items), actions).await;
    assert_eq!(
        seen_lines(&seen),
        [
            "narrow b default/labelled",
            "nodes b /node",
            "spaces b default/labelled",
            "spaces b default/plain",
            "spaces b default/secret",
        ]
    );
    assert_eq!(result.items, 4);
    assert!(result.failures.is_empty() && result.unreadable.is_empty());
}

#[tokio::test]
async fn a_failing_action_stops_neither_the_others_nor_the_pass() {
    let server = ApiServer::new();
    let live = config_map("default", "live").to_string();
    server.store().seed(&live).unwrap();
    let seen = Seen::default();
    let items: Vec<Value> = ["fail", "panic", "hang", "read"]
        .map(|what| told(what, what))
        .into();
    let actions = vec![
        notes("one", "configmaps", &seen),
        notes("two", "configmaps", &seen),
    ];
    let result = see(&server, archive(&items), actions).await;
    let mut found: Vec<String> = result.failures.iter().map(|record| record.line()).collect();
    found.sort();
    let parts = [
        ("/fail", "action one failed: the storage is away"),
        ("/fail", "action two failed: the storage is away"),
        ("/hang", "action one failed: it gave no answer within 0.2s"),
        ("/hang", "action two failed: it gave no answer within 0.2s"),
        ("/panic", "action one failed: it panicked"),
        ("/panic", "action two failed: it panicked"),
    ];
    assert_eq!(found.len(), parts.len(), "{found:?}");
    for (line, (name, message)) in found.iter().zip(parts) {
        assert!(line.contains(name) && line.contains(message), "{line}");
    }
    assert_eq!(seen_lines(&seen).len(), 8);
}

#[tokio::test]
async fn what_no_action_wants_is_not_decoded_and_the_rest_has_to_be() {
    let server = ApiServer::new();
    let path =
        |resource: &str, name: &str| ItemPath::new(GroupResource::core(resource), "default", name);
    let mut writer = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default()).unwrap();
    add(&mut writer, &path("secrets", "broken"), b"{not json");
    let first = told("twice", "fail").to_string();
    add(&mut writer, &path("configmaps", "twice"), first.as_bytes());
    let second = told("twice", "").to_string();
    add(&mut writer, &path("configmaps", "twice"), second.as_bytes());
    let archive = writer.finish().unwrap();

    let seen = Seen::default();
    let wants = |resource| vec![notes("one", resource, &seen)];
    let result = see(&server, archive.clone(), wants("configmaps")).await;
    assert!(result.unreadable.is_empty(), "{:?}", result.unreadable);
    assert!(result.failures.is_empty(), "{:?}", result.failures);
    assert_eq!(seen_lines(&seen), ["one b default/twice"]);

    let result = see(&server, archive, wants("secrets")).await;
    let [record] = &result.unreadable[..] else {
        panic!("{:?}", result.unreadable);
    };
    assert!(record.line().contains("/broken"), "{}", record.line());
}

#[tokio::test]
async fn a_cut_archive_is_an_error_and_without_actions_nobody_reads_it() {
    let server = ApiServer::new();
    let mut cut = archive(&[told("a", "")]);
    cut.truncate(cut.len() / 2);
    let pass = DeletionPass::new(cluster(&server).await);
    let cancel = CancellationToken::new;
    let unread = pass.run(Backup::default(), Cursor::new(cut.clone()), cancel());
    assert_eq!(unread.await.unwrap().items, 0);
    let seen = Seen::default();
    let pass = pass.actions([Arc::new(notes("one", "*", &seen)) as Arc<dyn DeleteItemAction>]);
    let error = pass.run(Backup::default(), Cursor::new(cut), cancel());
    assert_eq!(error.await.unwrap_err().kind(), ErrorKind::Archive);
    assert!(seen_lines(&seen).is_empty());
}

#[tokio::test]
async fn a_pass_that_is_cancelled_says_so() {
    let server = ApiServer::new();
    let seen = Seen::default();
    let pass = DeletionPass::new(cluster(&server).await)
        .actions([Arc::new(notes("one", "*", &seen)) as Arc<dyn DeleteItemAction>]);
    let cancel = CancellationToken::new();
    let archive = Cursor::new(archive(&[told("a", "hang"), told("b", "")]));
    let run = pass.run(Backup::default(), archive, cancel.clone());
    let stop = async {
        while seen.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(run, stop);
    assert!(result.unwrap().cancelled);
}
