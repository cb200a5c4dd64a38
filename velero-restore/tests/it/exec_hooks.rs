//! Commands in restored pods: which run, when, and what their failures mean.

use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use velero_restore::{HookJournal, RestoreOptions, RestoreResult, RestoreRun, RunningHooks};
use velero_testkit::k8s_openapi::api::core::v1::Pod;
use velero_testkit::kube::Api;
use velero_testkit::kube::api::{DeleteParams, Patch, PatchParams};
use velero_testkit::{
    ApiServer, Controllers, ExecEnding, ExecRequest, ExecResult, Fault, FaultAction,
};

use crate::common::*;

/// A cluster that notes what is run in its pods: `pod container command`.
struct Bench {
    server: ApiServer,
    log: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    /// Pods run as soon as they are there.
    fn new() -> Self {
        Self::with(Controllers::All)
    }

    /// Pods stay as they are created.
    fn still() -> Self {
        Self::with(Controllers::Essential)
    }

    fn with(controllers: Controllers) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let server = ApiServer::builder()
            .controllers(controllers)
            .exec(move |request: ExecRequest| {
                let command = request.command.join("|");
                let line = format!("{} {} {command}", request.pod, request.container);
                lines.lock().unwrap().push(line);
                answer(&request)
            })
            .build();
        Self { server, log }
    }

    /// What was run, in the order of pods.
    fn ran(&self) -> Vec<String> {
        let mut lines = self.log.lock().unwrap().clone();
        lines.sort_by_key(|line| line.split(' ').next().map(str::to_owned));
        lines
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.server.client(), namespace)
    }

    /// Gives a pod a phase, and its containers `c` and `d` a state.
    async fn set(&self, pod: &str, phase: &str, ready: bool) {
        let status = |name: &str| {
            json!({"name": name, "ready": ready, "image": "i", "imageID": "", "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}})
        };
        let containers = match phase {
            "Running" => json!([status("c"), status("d")]),
            _ => json!([]),
        };
        let patch = json!({"status": {"phase": phase, "containerStatuses": containers}});
        let pods = self.pods("shop");
        pods.patch_status(pod, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    async fn restore(&self, pods: &[Value], spec: Value) -> RestoreResult {
        restore(&self.server, pods, spec).await
    }

    /// Restores without waiting for hooks.
    async fn start(&self, pods: &[Value], spec: Value) -> (RestoreResult, RunningHooks) {
        let engine = engine(&self.server).await;
        let (request, archive) = (request(spec), Cursor::new(archive(pods)));
        let started = engine.start(&request, archive, RestoreRun::default());
        started.await.unwrap()
    }

    async fn wait_for(&self, line: &str) {
        for _ in 0..250 {
            if self.log.lock().unwrap().iter().any(|l| l == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{line:?} was never run: {:?}", self.ran());
    }
}

fn answer(request: &ExecRequest) -> ExecResult {
    match request.command[0].as_str() {
        "bad" => ExecResult::failure(3, "no luck\n"),
        "text" => ExecResult::failure(7, "").ending(ExecEnding::Text),
        "none" => ExecResult::default().ending(ExecEnding::NotStarted("not found in $PATH".into())),
        "hang" => ExecResult::output("at work").ending(ExecEnding::Never),
        "slow" => ExecResult::default().takes(Duration::from_millis(300)),
        _ => ExecResult::default(),
    }
}

/// A pod of `shop` with containers `c` and `d`, and annotations given without their prefix.
fn pod(name: &str, hooks: Value) -> Value {
    let mut pod = object("v1", "Pod", "shop", name);
    pod["metadata"]["labels"] = json!({"name": name});
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]});
    for (key, value) in hooks.as_object().into_iter().flatten() {
        let key = format!("post.hook.restore.velero.io/{key}");
        pod["metadata"]["annotations"][key] = value.clone();
    }
    pod
}

fn exec(command: &str, more: Value) -> Value {
    let mut exec = json!({"command": [command]});
    for (key, value) in more.as_object().into_iter().flatten() {
        exec[key] = value.clone();
    }
    json!({"exec": exec})
}

fn hooks(resources: Value) -> Value {
    json!({"hooks": {"resources": resources}})
}

fn counts(result: &RestoreResult) -> (i64, i64) {
    (result.hooks.hooks_attempted, result.hooks.hooks_failed)
}

#[tokio::test]
async fn annotations_come_before_the_spec_and_hooks_have_their_order() {
    let init =
        json!({"init": {"initContainers": [{"name": "i", "image": "i", "command": ["true"]}]}});
    let bench = Bench::new();
    let pods = [
        pod("a", json!({})),
        pod(
            "b",
            json!({"command": "[\"own\", \"x y\"]", "container": "d"}),
        ),
        pod("n", json!({"container": "d"})),
    ];
    let entries = json!([
        {"name": "one", "includedNamespaces": ["copy"], "postHooks":
            [exec("1", json!({})), init, exec("2", json!({"container": "d"})), exec("3", json!({}))]},
        {"name": "source", "includedNamespaces": ["shop"], "postHooks": [exec("never", json!({}))]},
        {"name": "labels", "labelSelector": {"matchLabels": {"name": "a"}}, "includedResources": ["configmaps"],
            "postHooks": [exec("4", json!({}))]},
    ]);
    let mut spec = hooks(entries);
    spec["namespaceMapping"] = json!({"shop": "copy"});
    let result = bench.restore(&pods, spec).await;
    assert_clean(&result);
    assert_eq!(
        bench.ran(),
        [
            "a c 1",
            "a d 2",
            "a c 3",
            "a c 4",
            "b d own|x y",
            "n c 1",
            "n d 2",
            "n c 3"
        ]
    );
    assert_eq!(counts(&result), (8, 0));
}

#[tokio::test]
async fn equal_keys_count_once() {
    let bench = Bench::new();
    let entry = json!({"name": "h", "postHooks": [exec("bad", json!({}))]});
    let result = bench
        .restore(&[pod("p", json!({}))], hooks(json!([entry, entry])))
        .await;
    assert_eq!((bench.ran().len(), counts(&result)), (2, (1, 1)));
}

#[tokio::test]
async fn failures_by_mode() {
    // Hooks of one pod; what was run in it; attempted and failed; the first error.
    for (postponed, ran, numbers, error) in [
        (
            vec![exec("bad", json!({})), exec("ok", json!({}))],
            2,
            (2, 1),
            "hook \"h\"[0]: exit code 3 in container c: no luck",
        ),
        (
            vec![
                exec("bad", json!({"onError": "Continue"})),
                exec("ok", json!({})),
            ],
            2,
            (2, 1),
            "hook \"h\"[0]: exit code 3 in container c: no luck",
        ),
        (
            vec![
                exec("bad", json!({"onError": "Fail"})),
                exec("ok", json!({})),
                exec("ok", json!({"container": "d"})),
            ],
            1,
            (3, 3),
            "hook \"h\"[0]: exit code 3 in container c: no luck",
        ),
        (
            vec![exec("text", json!({}))],
            1,
            (1, 1),
            "hook \"h\"[0]: exit code 7 in container c",
        ),
        (
            vec![exec("none", json!({"container": "d"}))],
            1,
            (1, 1),
            "hook \"h\"[0] in container d: the command did not run: Internal error occurred: not found in $PATH",
        ),
        (
            vec![exec("hang", json!({"execTimeout": "200ms"}))],
            1,
            (1, 1),
            "hook \"h\"[0] in container c: the command did not end within 0.2 s: at work",
        ),
    ] {
        let bench = Bench::new();
        let entry = json!({"name": "h", "labelSelector": {"matchLabels": {"name": "p"}}, "postHooks": postponed});
        let other = json!({"name": "o", "labelSelector": {"matchLabels": {"name": "other"}}, "postHooks": [exec("slow", json!({}))]});
        let pods = [pod("p", json!({})), pod("other", json!({}))];
        let result = bench.restore(&pods, hooks(json!([entry, other]))).await;
        // An error of one pod's hooks is no matter for those of another.
        assert!(bench.ran().contains(&"other c slow".to_owned()));
        let (attempted, failed) = numbers;
        assert_eq!(
            (bench.ran().len(), counts(&result)),
            (ran + 1, (attempted + 1, failed)),
            "{entry}"
        );
        let found = errors(&result);
        assert_eq!(i64::try_from(found.len()).unwrap(), failed, "{found:?}");
        let wanted = format!("shop: resource: /pods name: /p error: /{error}");
        assert!(found.contains(&wanted), "{wanted}: {found:?}");
        let skipped = "it was not run, because hook \"h\"[0] has failed";
        let skips = found.iter().filter(|line| line.contains(skipped)).count();
        assert_eq!(i64::try_from(skips).unwrap(), failed - 1, "{found:?}");
        assert_eq!(entries(&result, "v1/Pod").len(), 2);
    }
}

#[tokio::test]
async fn what_is_written_oddly_is_told() {
    let bench = Bench::new();
    let odd = json!({"command": "ok", "on-error": "fail", "exec-timeout": "soon", "wait-for-ready": "perhaps"});
    let entry = json!({"name": "h", "postHooks": [exec("x", json!({"onError": "never"}))]});
    let result = bench.restore(&[pod("p", odd)], hooks(json!([entry]))).await;
    let found = warnings(&result);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(
        found[3].starts_with("velero: message: /hooks.resources[0].postHooks[0].exec.onError: ")
    );
    assert_eq!((errors(&result).len(), bench.ran().len()), (0, 1));
}

#[tokio::test]
async fn a_container_that_does_not_come_up_in_time_is_an_error_and_its_hook_is_not_run() {
    let bench = Bench::still();
    let wait = json!({"command": "late", "wait-timeout": "150ms"});
    let mut fail = wait.clone();
    fail["on-error"] = json!("Fail");
    let result = bench
        .restore(&[pod("a", wait), pod("b", fail)], json!({}))
        .await;
    let said = "error: /hook of the pod's annotations in container c: the container was not running within 150ms: \
                the pod is Pending";
    let expected = ["a", "b"].map(|name| format!("shop: resource: /pods name: /{name} {said}"));
    assert_eq!(errors(&result), expected);
    assert_eq!((bench.ran().len(), counts(&result)), (0, (2, 2)));
}

/// One hook of a pod has waited too long; the others have longer.
#[tokio::test]
async fn each_hook_waits_for_itself() {
    let bench = Bench::still();
    let entry = json!({"name": "h", "postHooks": [
        exec("short", json!({"waitTimeout": "100ms"})), exec("long", json!({"waitTimeout": "1m"})), exec("any", json!({}))]});
    let (mut result, hooks) = bench
        .start(&[pod("p", json!({}))], hooks(json!([entry])))
        .await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(hooks.left(), 2);
    bench.set("p", "Running", false).await;
    hooks.ended().await;
    assert_eq!(bench.ran(), ["p c long", "p c any"]);
    for _ in 0..2 {
        result.take_hooks(&hooks);
        let found = errors(&result);
        assert!(
            found.len() == 1 && found[0].contains("hook \"h\"[0]"),
            "{found:?}"
        );
        assert_eq!(counts(&result), (3, 1));
    }
}

#[tokio::test]
async fn hooks_that_say_nothing_wait_as_long_as_operations_may_take() {
    let bench = Bench::still();
    let spec = json!({"itemOperationTimeout": "200ms"});
    let begun = Instant::now();
    let result = bench
        .restore(&[pod("p", json!({"command": "x"}))], spec)
        .await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    let found = errors(&result);
    assert!(
        found[0].contains("was not running within 200ms"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_hook_for_a_container_that_the_pod_has_not_got_fails_at_once() {
    let bench = Bench::still();
    let begun = Instant::now();
    let result = bench
        .restore(
            &[pod("p", json!({"command": "x", "container": "gone"}))],
            json!({}),
        )
        .await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(
        errors(&result),
        [
            "shop: resource: /pods name: /p error: /hook of the pod's annotations in container gone: the pod has no such \
          container; it has c, d"
        ]
    );
    assert_eq!(counts(&result), (1, 1));
}

#[tokio::test]
async fn readiness_is_waited_for_where_a_hook_of_the_container_wants_it() {
    for (wanted, ran_while_unready) in [("true", 0), ("false", 1), ("nonsense", 1)] {
        let bench = Bench::still();
        let annotated = pod("p", json!({"command": "x", "wait-for-ready": wanted}));
        let (_, hooks) = bench.start(&[annotated], json!({})).await;
        bench.set("p", "Running", false).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(bench.ran().len(), ran_while_unready, "{wanted}");
        bench.set("p", "Running", true).await;
        hooks.ended().await;
        assert_eq!((bench.ran().len(), hooks.counts().hooks_failed), (1, 0));
    }
    // All hooks of the container wait for it, as with the peer.
    let bench = Bench::still();
    let entry = json!({"name": "h", "postHooks": [exec("1", json!({})), exec("2", json!({"waitForReady": true}))]});
    let (_, hooks) = bench
        .start(&[pod("p", json!({}))], hooks(json!([entry])))
        .await;
    bench.set("p", "Running", false).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(bench.ran().is_empty());
    bench.set("p", "Running", true).await;
    hooks.ended().await;
    assert_eq!(bench.ran(), ["p c 1", "p c 2"]);
}

#[tokio::test]
async fn pods_that_end_or_go_before_their_hooks_are_errors() {
    for end in ["Succeeded", "Failed", "deleted", "replaced"] {
        let bench = Bench::still();
        let annotated = pod("p", json!({"command": "x"}));
        let (_, hooks) = bench.start(&[annotated], json!({})).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        match end {
            "deleted" | "replaced" => {
                let pods = bench.pods("shop");
                pods.delete("p", &DeleteParams::default().grace_period(0))
                    .await
                    .unwrap();
                if end == "replaced" {
                    let mut next = pod("p", json!({}));
                    next["metadata"]["labels"]["velero.io/restore-name"] = json!("r1");
                    bench.server.store().seed_value(next).unwrap();
                }
            }
            phase => bench.set("p", phase, false).await,
        }
        hooks.ended().await;
        let records = hooks.take_records();
        let why = match end {
            "deleted" | "replaced" => "the pod was deleted".to_owned(),
            phase => format!("the pod has run to its end ({phase})"),
        };
        let text = format!("hook of the pod's annotations in container c: it was not run: {why}");
        assert!(
            records.len() == 1 && records[0].message == text,
            "{end}: {records:?}"
        );
        assert!(bench.ran().is_empty());
    }
}

/// Somebody takes away the label that pods are looked for by.
#[tokio::test]
async fn a_pod_that_loses_its_labels_is_not_lost() {
    let bench = Bench::still();
    let (_, hooks) = bench
        .start(&[pod("p", json!({"command": "x"}))], json!({}))
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    bench.set("p", "Running", true).await;
    let patch = json!({"metadata": {"labels": {"velero.io/restore-name": null}}});
    bench
        .pods("shop")
        .patch("p", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    hooks.ended().await;
    assert_eq!((bench.ran().len(), hooks.counts().hooks_failed), (1, 0));
}

#[tokio::test]
async fn only_pods_that_this_restore_creates_run_hooks() {
    let bench = Bench::new();
    let there = pod("p", json!({"command": "x"}));
    bench.server.store().seed_value(there.clone()).unwrap();
    let result = bench.restore(&[there], json!({})).await;
    assert_eq!((bench.ran().len(), counts(&result)), (0, (0, 0)));
}

#[tokio::test]
async fn pods_are_seen_by_one_watch_for_each_namespace() {
    let bench = Bench::new();
    let pods: Vec<Value> = (0..60)
        .map(|at| {
            let mut pod = pod(&format!("p{at:02}"), json!({"command": "x"}));
            pod["metadata"]["namespace"] = json!(["shop", "mall"][at % 2]);
            pod
        })
        .collect();
    let result = bench.restore(&pods, json!({})).await;
    assert_clean(&result);
    assert_eq!((bench.ran().len(), counts(&result)), (60, (60, 0)));
    let calls = bench.server.calls();
    assert_eq!(calls.count("get", "pods"), 0);
    let looks = (calls.count("list", "pods"), calls.count("watch", "pods"));
    assert!(looks.0 <= 2 && looks.1 <= 2, "{looks:?}");
}

#[tokio::test]
async fn lists_do_where_watches_are_not_to_be_had() {
    for fault in [
        Some(FaultAction::Forbidden),
        Some(FaultAction::ConnectionReset),
        Some(FaultAction::Gone),
        None,
    ] {
        let bench = Bench::still();
        let mut options = options();
        match &fault {
            Some(action) => {
                let fault = Fault::new(action.clone()).verb("watch").resource("pods");
                bench.server.faults().add(fault);
            }
            // No more than none at a time.
            None => options.hook_watches = 0,
        }
        let engine = engine(&bench.server).await.options(options);
        let archive = Cursor::new(archive(&[pod("p", json!({"command": "x"}))]));
        let (_, hooks) = engine
            .start(&request(json!({})), archive, RestoreRun::default())
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(bench.ran().is_empty(), "{fault:?}");
        bench.set("p", "Running", true).await;
        hooks.ended().await;
        assert_eq!(hooks.counts().hooks_failed, 0, "{fault:?}");
    }
}

#[tokio::test]
async fn a_watch_that_breaks_while_pods_change_is_begun_again() {
    let bench = Bench::still();
    // Each breaks with the first change that it tells.
    let fault = Fault::new(FaultAction::Truncate(10))
        .verb("watch")
        .resource("pods");
    bench.server.faults().add(fault.times(4));
    let names = ["a", "b", "c"];
    let pods = names.map(|name| pod(name, json!({"command": "x"})));
    let (_, hooks) = bench.start(&pods, json!({})).await;
    for name in names {
        bench.set(name, "Running", true).await;
        bench.wait_for(&format!("{name} c x")).await;
    }
    hooks.ended().await;
    assert_eq!((bench.ran().len(), hooks.counts().hooks_failed), (3, 0));
    assert!(bench.server.calls().count("watch", "pods") > 1);
}

#[tokio::test]
async fn why_pods_cannot_be_looked_at_is_told_when_the_wait_is_over() {
    let bench = Bench::new();
    for verb in ["list", "watch"] {
        let fault = Fault::new(FaultAction::Forbidden)
            .verb(verb)
            .resource("pods");
        bench.server.faults().add(fault);
    }
    let annotated = pod("p", json!({"command": "x", "wait-timeout": "300ms"}));
    let result = bench.restore(&[annotated], json!({})).await;
    let found = errors(&result);
    assert!(
        found[0].contains("nothing was seen of the pod; it cannot be looked at: cannot list pods"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_cancelled_restore_leaves_no_hook_without_a_word() {
    let bench = Bench::still();
    let engine = engine(&bench.server).await;
    let run = RestoreRun::default();
    let cancel = run.cancel.clone();
    let archive = Cursor::new(archive(&[pod("p", json!({"command": "x"}))]));
    let request = request(json!({}));
    let (result, ()) = tokio::join!(engine.run(&request, archive, run), async {
        // The hook waits for its pod by then.
        for _ in 0..500 {
            if bench.server.calls().count("watch", "pods") > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cancel.cancel();
    });
    let result = result.unwrap();
    assert!(result.cancelled);
    let found = errors(&result);
    assert!(
        found.len() == 1
            && found[0].ends_with("it was not run to its end: the restore was cancelled"),
        "{found:?}"
    );
}

#[tokio::test]
async fn another_process_goes_on_with_what_has_not_begun() {
    let bench = Bench::still();
    let pods = [
        pod("hangs", json!({"command": "hang", "exec-timeout": "10m"})),
        pod("waits", json!({"command": "x", "wait-timeout": "10m"})),
        pod("done", json!({"command": "first"})),
        pod("failed", json!({"command": "bad"})),
    ];
    let (_, hooks) = bench.start(&pods, json!({})).await;
    for name in ["hangs", "done", "failed"] {
        bench.set(name, "Running", true).await;
    }
    for line in ["hangs c hang", "done c first", "failed c bad"] {
        bench.wait_for(line).await;
    }
    while hooks.left() > 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let journal = serde_json::to_vec(&hooks.journal()).unwrap();
    drop(hooks);

    let journal: HookJournal = serde_json::from_slice(&journal).unwrap();
    let request = request(json!({}));
    let resumed = RunningHooks::resume(
        cluster(&bench.server).await,
        request.restore(),
        journal,
        &options(),
        &RestoreRun::default(),
    )
    .unwrap();
    assert_eq!(resumed.left(), 1);
    bench.set("waits", "Running", true).await;
    resumed.ended().await;
    assert_eq!(
        bench.ran(),
        ["done c first", "failed c bad", "hangs c hang", "waits c x"]
    );
    let counts = resumed.counts();
    assert_eq!((counts.hooks_attempted, counts.hooks_failed), (4, 2));
    let mut said: Vec<String> = resumed.take_records().iter().map(|r| r.line()).collect();
    said.sort();
    assert!(
        said.len() == 2
            && said[0].contains("name: /failed error: /hook of the pod's annotations: exit code 3")
            && said[1].contains("name: /hangs")
            && said[1].contains("whether it has done its work is not known"),
        "{said:?}"
    );
}

#[tokio::test]
async fn hooks_begin_when_it_is_kept_that_they_do() {
    let bench = Bench::still();
    let (_, hooks) = bench
        .start(&[pod("p", json!({"command": "x"}))], json!({}))
        .await;
    let mut keeper = hooks.keeper();
    keeper.next().await;
    keeper.kept();
    bench.set("p", "Running", true).await;
    let journal = serde_json::to_value(keeper.next().await).unwrap();
    assert_eq!(journal["pods"][0]["hooks"][0]["state"], "Running");
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(bench.ran().is_empty());
    keeper.kept();
    hooks.ended().await;
    assert_eq!(bench.ran(), ["p c x"]);
    let journal = serde_json::to_value(keeper.next().await).unwrap();
    assert_eq!(journal["pods"][0]["hooks"][0]["state"], "Done");
    // Without a keeper nobody waits.
    drop(keeper);
    assert_eq!(hooks.left(), 0);
}

#[tokio::test]
async fn faults_of_a_spec_are_found_before_the_run() {
    let restore = serde_json::from_value(json!({"metadata": {"name": "r1"}, "spec": {"backupName": "b1", "hooks": {"resources": [
        {"name": "a", "postHooks": [{"exec": {"command": []}}]},
        {"name": "b", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
    ]}}}))
    .unwrap();
    let faults = velero_restore::validate(&restore);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("hooks.resources[1].labelSelector: "));
    assert_eq!(
        faults[1],
        "hooks.resources[0].postHooks[0].exec.command: it is empty; name a command"
    );
}

#[test]
fn bounds_have_defaults() {
    let options = RestoreOptions::default();
    assert_eq!((options.hooks_in_flight, options.hook_watches), (32, 16));
}
