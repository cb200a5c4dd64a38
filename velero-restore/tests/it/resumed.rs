//! Restores that are interrupted at random points, and go on: nothing is created, run or started a second time.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_core::action::{
    ActionContext, ActionError, ResourceSelector, RestoreInput, RestoreItemAction, RestoreOutcome,
};
use velero_core::api::Restore;
use velero_restore::{
    ErrorKind, Journal, JournalEntries, JournalError, RestoreEngine, RestoreRequest, RestoreResult,
    RestoreRun,
};
use velero_testkit::compare::{ALLOWED, compare};
use velero_testkit::{ApiServer, Controllers, ExecRequest, ExecResult};

use crate::common::*;

/// A journal that outlives its run.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) text: Mutex<Option<Vec<u8>>>,
    is_broken: bool,
}

#[async_trait]
impl Journal for Notes {
    async fn load(&self) -> Result<Option<JournalEntries>, JournalError> {
        if self.is_broken {
            return Err("the disk is gone".into());
        }
        let text = self.text.lock().unwrap();
        Ok(text
            .as_ref()
            .map(|text| serde_json::from_slice(text).unwrap()))
    }

    async fn keep(&self, entries: &JournalEntries) -> Result<(), JournalError> {
        // As slow as a store is: others go on meanwhile.
        tokio::time::sleep(Duration::from_millis(1)).await;
        *self.text.lock().unwrap() = Some(serde_json::to_vec(entries)?);
        Ok(())
    }
}

type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

/// Starts an operation for each Secret, and leaves the names of some ConfigMaps to the API server.
struct Acts {
    started: Counts,
}

#[async_trait]
impl RestoreItemAction for Acts {
    fn name(&self) -> &str {
        "example.com/acts"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["secrets", "configmaps"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        let name = item.name().to_owned();
        if item.kind() == "Secret" {
            item.set_annotation("example.com/seen", name.as_str());
            *self
                .started
                .lock()
                .unwrap()
                .entry(name.clone())
                .or_default() += 1;
            return Ok(RestoreOutcome::create(item).started(format!("op-{name}")));
        }
        if name.starts_with("made-up") {
            item.metadata_mut().remove("name");
            item.metadata_mut()
                .insert("generateName".into(), json!("made-"));
        }
        Ok(RestoreOutcome::create(item))
    }
}

/// What a restore does and leaves, over all its attempts.
struct World {
    server: ApiServer,
    engine: RestoreEngine,
    notes: Arc<Notes>,
    ran: Counts,
    started: Counts,
}

impl World {
    async fn new() -> Self {
        let (ran, started) = (Counts::default(), Counts::default());
        let lines = Arc::clone(&ran);
        let server = ApiServer::builder()
            .controllers(Controllers::All)
            .exec(move |request: ExecRequest| {
                let line = format!("{} {}", request.pod, request.command.join(" "));
                *lines.lock().unwrap().entry(line).or_default() += 1;
                ExecResult::default()
            })
            .build();
        let acts = Acts {
            started: Arc::clone(&started),
        };
        Self {
            engine: engine(&server).await.action(acts),
            server,
            notes: Arc::default(),
            ran,
            started,
        }
    }

    fn calls(&self) -> usize {
        self.server.calls().log().len()
    }

    /// Runs the restore; given a number of calls, only until as many were made.
    async fn run(&self, until: Option<usize>) -> Option<RestoreResult> {
        let run = RestoreRun::default().journal(Arc::clone(&self.notes) as Arc<dyn Journal>);
        let (request, archive) = (request_with_uid(), Cursor::new(archive(&items())));
        let restore = self.engine.run(&request, archive, run);
        let interrupted = async {
            match until {
                None => std::future::pending().await,
                Some(calls) => {
                    while self.calls() < calls {
                        tokio::task::yield_now().await;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = interrupted => None,
            result = restore => Some(result.unwrap()),
        }
    }

    /// Objects that were created, and patches that were made, by kind.
    fn writes(&self) -> BTreeMap<(String, String), u64> {
        let mut writes = BTreeMap::new();
        for call in self.server.calls().log() {
            // Of a call that was dropped the answer is not known; the next attempt finds out.
            if call.is_write() && (200..300).contains(&call.code) {
                *writes.entry((call.verb, call.resource)).or_default() += 1;
            }
        }
        writes
    }

    fn state(&self) -> Vec<Value> {
        let mut all = self.server.store().all();
        all.retain(|object| object["kind"] != "Event");
        all
    }
}

fn request_with_uid() -> RestoreRequest {
    let restore: Restore = serde_json::from_value(json!({
        "metadata": {"name": "r1", "namespace": "velero", "uid": "5b1e8ff6-b0a8-4d7f-a2a1-0c7b8f3a4a11"},
        "spec": {"backupName": "b1"},
    }))
    .unwrap();
    RestoreRequest::resolve(restore).unwrap()
}

fn items() -> Vec<Value> {
    let mut items = vec![namespace("one"), namespace("two")];
    for n in 0..40 {
        let mut map = config_map(["one", "two"][n % 2], &format!("m{n}"));
        if n % 4 == 0 {
            // Two owners take a patch of their own.
            let labels = managed(
                "kubectl-label",
                json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}),
            );
            map["metadata"]["labels"] = json!({"a": "b"});
            map["metadata"]["managedFields"]
                .as_array_mut()
                .unwrap()
                .push(labels);
        }
        items.push(map);
    }
    for n in 0..3 {
        items.push(config_map("one", &format!("made-up-{n}")));
        let mut secret = object("v1", "Secret", "two", &format!("s{n}"));
        secret["data"] = json!({"k": "dg=="});
        items.push(secret);
    }
    for n in 0..4 {
        let mut pod = object("v1", "Pod", "one", &format!("p{n}"));
        pod["spec"] = json!({"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]});
        let command = "post.hook.restore.velero.io/command";
        pod["metadata"]["annotations"] = json!({command: "[\"run\"]"});
        items.push(pod);
    }
    items
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Seeded by `VELERO_TEST_SEED`, else by the time; the seed is part of what a failure says.
fn seed() -> u64 {
    let seed = std::env::var("VELERO_TEST_SEED").ok();
    seed.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap().as_nanos() as u64
    })
}

/// Errors, but for hooks that a restore was interrupted beside.
fn faults(result: &RestoreResult) -> Vec<String> {
    let mut errors = errors(result);
    errors.retain(|error| !error.contains("whether it has done its work is not known"));
    errors
}

/// Managed fields by manager, without their times.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array();
    let mut all: Vec<String> = entries
        .into_iter()
        .flatten()
        .map(|entry| {
            format!(
                "{} {} {}",
                entry["manager"], entry["subresource"], entry["fieldsV1"]
            )
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_restore_that_is_interrupted_anywhere_ends_as_if_it_had_not_been() {
    let whole = World::new().await;
    let before = whole.calls();
    let wanted = whole.run(None).await.unwrap();
    let all = whole.calls() - before;
    assert_clean(&wanted);
    assert_eq!(wanted.counts.created as usize, items().len());
    assert_eq!(
        (whole.ran.lock().unwrap().len(), wanted.operations.len()),
        (4, 3)
    );

    let seed = seed();
    let (mut random, mut resumed) = (Random(seed), 0);
    for turn in 0..24 {
        let world = World::new().await;
        let mut points = Vec::new();
        let mut result = None;
        // At most three interruptions, each at a point that counts from the last.
        for _ in 0..3 {
            let point = world.calls() + 1 + random.below(all);
            points.push(point);
            result = world.run(Some(point)).await;
            if result.is_some() {
                break;
            }
            resumed += 1;
        }
        let what =
            format!("VELERO_TEST_SEED={seed}, turn {turn}, {all} calls, interrupted at {points:?}");
        let result = match result {
            Some(result) => result,
            None => world.run(None).await.unwrap(),
        };
        assert_eq!(faults(&result), Vec::<String>::new(), "{what}");
        assert_eq!(warnings(&result), Vec::<String>::new(), "{what}");
        assert_eq!(result.counts.created, wanted.counts.created, "{what}");
        assert_eq!(
            result.resource_list.entries("v1/ConfigMap").len(),
            43,
            "{what}"
        );
        assert_eq!(result.hooks.hooks_attempted, 4, "{what}");
        let left: Vec<_> = compare(&whole.state(), &world.state(), ALLOWED)
            .into_iter()
            .map(|difference| difference.to_string())
            .collect();
        assert_eq!(left, Vec::<String>::new(), "{what}");
        for (one, other) in whole.state().iter().zip(world.state()) {
            if one["kind"] == "ConfigMap" {
                assert_eq!(
                    owners(one),
                    owners(&other),
                    "{what}: {}",
                    one["metadata"]["name"]
                );
            }
        }
        for (verb, resource) in [
            ("create", "configmaps"),
            ("create", "pods"),
            ("create", "secrets"),
            ("create", "namespaces"),
            ("patch", "configmaps"),
        ] {
            let of = |world: &World| {
                let key = (verb.to_owned(), resource.to_owned());
                world.writes().get(&key).copied().unwrap_or_default()
            };
            // An answer that never came was carried out or not.
            assert!(
                of(&world) <= of(&whole),
                "{what}: {verb} {resource} {} times",
                of(&world)
            );
        }
        for counts in [&world.ran, &world.started] {
            let counts = counts.lock().unwrap();
            assert!(counts.values().all(|n| *n == 1), "{what}: {counts:?}");
        }
        let mut started: Vec<_> = result
            .operations
            .iter()
            .map(|o| o.spec.operation_id.clone())
            .collect();
        started.sort();
        assert_eq!(started, ["op-s0", "op-s1", "op-s2"], "{what}");
    }
    assert!(
        resumed >= 12,
        "seed {seed}: only {resumed} runs were interrupted"
    );
}

#[tokio::test]
async fn what_is_there_costs_a_list_for_each_kind_and_no_write() {
    let world = World::new().await;
    world.run(None).await.unwrap();
    world.server.calls().reset();
    let again = world.run(None).await.unwrap();
    assert_eq!((faults(&again), warnings(&again)), (Vec::new(), Vec::new()));
    assert_eq!(again.counts.created as usize, items().len());
    let calls = world.server.calls();
    let refused: Vec<_> = calls
        .writes()
        .into_iter()
        .filter(|call| call.code != 409)
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    // Lists show objects under the names that were made up for them, which items do not have.
    for (kind, made_up) in [("configmaps", 3), ("secrets", 0), ("pods", 0)] {
        assert_eq!(calls.count("create", kind), made_up, "{kind}");
        assert_eq!(calls.count("get", kind), made_up, "{kind}");
        let lists = calls
            .log()
            .into_iter()
            // Hooks list the pods of their namespace.
            .filter(|c| c.verb == "list" && c.resource == kind)
            .filter(|c| c.resource != "pods" || c.namespace.is_none());
        let queries: Vec<String> = lists.map(|call| call.query).collect();
        assert!(
            queries.iter().all(|q| q.contains("labelSelector=")),
            "{kind}: {queries:?}"
        );
        assert!(queries.len() <= 1, "{kind}: {queries:?}");
    }
}

#[tokio::test]
async fn what_an_earlier_attempt_has_not_made_is_met_as_ever() {
    let world = World::new().await;
    let point = world.calls() + 1;
    assert!(world.run(Some(point)).await.is_none());
    assert!(world.notes.text.lock().unwrap().is_some());
    let mut other = config_map("one", "m0");
    other["data"] = json!({"key": "another"});
    other["metadata"]["labels"] = json!({"velero.io/restore-name": "r0"});
    let store = world.server.store();
    if store.get("v1", "Namespace", None, "one").is_none() {
        store.seed_value(namespace("one")).unwrap();
    }
    store.seed_value(other).unwrap();
    let result = world.run(None).await.unwrap();
    let said = warnings(&result);
    assert!(
        said.len() == 1 && said[0].contains("m0") && said[0].contains("differs"),
        "{said:?}"
    );
    assert_eq!(errors(&result), Vec::<String>::new());
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_ends_the_restore_before_it_writes() {
    let mut world = World::new().await;
    world.notes = Arc::new(Notes {
        is_broken: true,
        ..Notes::default()
    });
    world.server.calls().reset();
    let run = RestoreRun::default().journal(Arc::clone(&world.notes) as Arc<dyn Journal>);
    let archive = Cursor::new(archive(&items()));
    let error = world
        .engine
        .run(&request_with_uid(), archive, run)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Journal);
    assert_eq!(
        error.chain(),
        "cannot read what an earlier attempt has left: the disk is gone"
    );
    assert!(world.server.calls().writes().is_empty());
}

#[tokio::test]
async fn a_journal_holds_only_what_the_cluster_cannot_tell() {
    let world = World::new().await;
    let mut items = vec![namespace("one")];
    items.extend((0..1000).map(|n| config_map("one", &format!("plain-{n}"))));
    let keep = async |items: &[Value]| {
        let notes: Arc<Notes> = Arc::default();
        let run = RestoreRun::default().journal(Arc::clone(&notes) as Arc<dyn Journal>);
        let archive = Cursor::new(archive(items));
        let result = world.engine.run(&request_with_uid(), archive, run).await;
        assert_clean(&result.unwrap());
        let text = notes.text.lock().unwrap().take().unwrap();
        String::from_utf8(text).unwrap()
    };
    let plain = keep(&items).await;
    assert!(plain.len() < 100, "{plain}");
    for name in ["plain-", "one", "configmaps"] {
        assert!(!plain.contains(name), "{name} is in {plain}");
    }

    // One that does know more: the operation that was started, beside as many maps.
    let mut secret = object("v1", "Secret", "one", "s0");
    secret["data"] = json!({"k": "dg=="});
    items.push(secret);
    let more = keep(&items).await;
    assert!(more.contains("op-s0") && more.len() < 1024, "{more}");
    assert!(!more.contains("plain-"), "{more}");
}
