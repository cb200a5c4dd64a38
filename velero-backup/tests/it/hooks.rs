use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use velero_backup::{BackupEngine, BackupOptions, ErrorKind, artifacts};
use velero_core::CancellationToken;
use velero_core::action::BackupOutcome;
use velero_testkit::{ApiServer, ExecEnding, ExecRequest, ExecResult, Fault, FaultAction};

use crate::actions::on;
use crate::support::*;

pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// A cluster with the namespace `shop`, and what was run in its pods: `pod container command`.
pub(crate) struct Bench {
    pub(crate) server: ApiServer,
    pub(crate) log: Log,
}

impl Bench {
    pub(crate) fn new(answer: impl Fn(&ExecRequest) -> ExecResult + Send + Sync + 'static) -> Self {
        let log = Log::default();
        let lines = Arc::clone(&log);
        let server = ApiServer::builder()
            .exec(move |request| {
                let line = format!(
                    "{} {} {}",
                    request.pod,
                    request.container,
                    request.command.join("|")
                );
                lines.lock().unwrap().push(line);
                answer(&request)
            })
            .build();
        seed(&server, namespace("shop", json!({})));
        Self { server, log }
    }

    /// What was run since the last time.
    pub(crate) fn ran(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    pub(crate) fn pod(&self, name: &str, claims: &[&str], hooks: Value) {
        seed(&self.server, hooked(name, claims, hooks));
    }
}

/// A pod of `shop` with containers `c` and `d`, claims, and annotations given without `hook.backup.velero.io/`'s rest:
/// `{"pre.command": "x"}` stands for `pre.hook.backup.velero.io/command`.
pub(crate) fn hooked(name: &str, claims: &[&str], hooks: Value) -> Value {
    let mut pod = object("v1", "Pod", "shop", name, json!({"name": name}));
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]});
    let volumes = claims
        .iter()
        .map(|c| json!({"name": c, "persistentVolumeClaim": {"claimName": c}}));
    pod["spec"]["volumes"] = volumes.collect();
    for (key, value) in hooks.as_object().into_iter().flatten() {
        let (phase, field) = key.rsplit_once('.').unwrap_or(("", key));
        let dot = if phase.is_empty() { "" } else { "." };
        pod["metadata"]["annotations"][format!("{phase}{dot}hook.backup.velero.io/{field}")] =
            value.clone();
    }
    pod["status"] = json!({"phase": "Running"});
    pod
}

pub(crate) fn both() -> Value {
    json!({"pre.command": "freeze", "post.command": "thaw"})
}

fn by_command(request: &ExecRequest) -> ExecResult {
    match request.command[0].as_str() {
        "bad" => ExecResult::failure(3, "no luck\n"),
        "text" => ExecResult::failure(7, "").ending(ExecEnding::Text),
        "none" => ExecResult::default().ending(ExecEnding::NotStarted("not found in $PATH".into())),
        "hang" => ExecResult::output("at work").ending(ExecEnding::Never),
        _ => ExecResult::default(),
    }
}

fn shop() -> Value {
    json!({"includedNamespaces": ["shop"]})
}

fn with_hooks(resources: Value) -> Value {
    json!({"includedNamespaces": ["shop"], "hooks": {"resources": resources}})
}

fn counts(done: &Done) -> (i64, i64) {
    let status = artifacts::final_status(&backup(json!({})), &done.result)
        .hook_status
        .unwrap();
    (status.hooks_attempted, status.hooks_failed)
}

#[tokio::test]
async fn annotations_choose_command_and_container() {
    for (hooks, ran) in [
        (json!({"pre.command": "sync"}), vec!["p c sync"]),
        (json!({"command": "old"}), vec!["p c old"]),
        (
            json!({"command": "old", "pre.command": "new"}),
            vec!["p c new"],
        ),
        (json!({"post.command": "thaw"}), vec!["p c thaw"]),
        (both(), vec!["p c freeze", "p c thaw"]),
        (
            json!({"pre.command": "sync", "pre.container": "d"}),
            vec!["p d sync"],
        ),
        (
            json!({"pre.command": "[\"sh\", \"-c\", \"a b\"]"}),
            vec!["p c sh|-c|a b"],
        ),
        (json!({"pre.command": "echo a b"}), vec!["p c echo a b"]),
        (json!({"pre.command": "[nope"}), vec!["p c [nope"]),
        (json!({"pre.command": ""}), vec![]),
        (json!({"pre.container": "d"}), vec![]),
    ] {
        let bench = Bench::new(by_command);
        bench.pod("p", &[], hooks.clone());
        let done = back_up(&bench.server, shop()).await;
        assert_eq!(bench.ran(), ran, "{hooks}");
        assert_eq!(counts(&done), (ran.len() as i64, 0), "{hooks}");
        assert!(done.has("pods/namespaces/shop/p") && done.result.records.is_empty());
    }
}

#[tokio::test]
async fn failures_by_mode_and_phase() {
    // Annotations; whether the pod is stored; what ran; attempted and failed; errors.
    for (hooks, stored, ran, numbers) in [
        (
            json!({"pre.command": "bad", "post.command": "thaw"}),
            true,
            2,
            (2, 1),
        ),
        (
            json!({"pre.command": "bad", "pre.on-error": "Continue", "post.command": "thaw"}),
            true,
            2,
            (2, 1),
        ),
        (
            json!({"pre.command": "bad", "pre.on-error": "nonsense", "post.command": "thaw"}),
            true,
            2,
            (2, 1),
        ),
        (
            json!({"pre.command": "bad", "pre.on-error": "Fail", "post.command": "thaw"}),
            false,
            1,
            (1, 1),
        ),
        (
            json!({"pre.command": "ok", "pre.on-error": "Fail", "post.command": "bad"}),
            true,
            2,
            (2, 1),
        ),
        (
            json!({"pre.command": "ok", "post.command": "bad", "post.on-error": "Fail"}),
            true,
            2,
            (2, 1),
        ),
        (
            json!({"pre.command": "text", "pre.on-error": "Fail"}),
            false,
            1,
            (1, 1),
        ),
        (json!({"pre.command": "none"}), true, 1, (1, 1)),
        (
            json!({"pre.command": "bad", "pre.container": "x"}),
            true,
            0,
            (1, 1),
        ),
        (json!({"pre.command": "[]"}), true, 0, (1, 1)),
    ] {
        let bench = Bench::new(by_command);
        bench.pod("p", &[], hooks.clone());
        bench.pod("other", &[], json!({}));
        let done = back_up(&bench.server, shop()).await;
        assert_eq!(done.has("pods/namespaces/shop/p"), stored, "{hooks}");
        assert!(done.has("pods/namespaces/shop/other"));
        assert_eq!(
            (bench.ran().len(), counts(&done)),
            (ran, numbers),
            "{hooks}"
        );
        assert_eq!(done.result.errors(), 1, "{hooks} {:?}", done.lines());
        assert_eq!(
            done.result.total - done.result.backed_up,
            u64::from(!stored),
            "{hooks}"
        );
    }
}

#[tokio::test]
async fn records_say_what_failed_and_what_follows() {
    for (hooks, text) in [
        (
            json!({"pre.command": "bad"}),
            "pre hook of the pod's annotations: exit code 3 in container c: no luck; the pod is backed up all the same",
        ),
        (
            json!({"pre.command": "bad", "pre.on-error": "Fail"}),
            "pre hook of the pod's annotations: exit code 3 in container c: no luck; the pod is left out of the backup",
        ),
        (
            json!({"post.command": "text"}),
            "post hook of the pod's annotations: exit code 7 in container c; the pod is in the backup",
        ),
        (
            json!({"pre.command": "x", "pre.container": "x"}),
            "pre hook of the pod's annotations: the pod has no container \"x\"; it has c, d; the pod is backed up all the same",
        ),
        (
            json!({"pre.command": "none"}),
            "pre hook of the pod's annotations: the command did not run: Internal error occurred: not found in $PATH; the pod is backed up all the same",
        ),
    ] {
        let bench = Bench::new(by_command);
        bench.pod("p", &[], hooks);
        let done = back_up(&bench.server, shop()).await;
        assert_eq!(
            done.lines(),
            [format!("resource: /pods name: /p error: /{text}")]
        );
    }
}

#[tokio::test]
async fn hooks_of_the_spec() {
    let exec = |command: &str, mode: &str| json!({"exec": {"command": [command], "onError": mode, "container": "d"}});
    for (resources, ran, numbers, stored) in [
        (
            json!([{"name": "h", "pre": [exec("1", "Fail"), exec("2", "Fail")], "post": [exec("3", "Fail")]}]),
            vec!["p d 1", "p d 2", "p d 3"],
            (3, 0),
            true,
        ),
        (
            json!([{"name": "h", "pre": [exec("1", "Fail"), exec("bad", "Fail"), exec("2", "Fail")], "post": [exec("3", "Fail")]}]),
            vec!["p d 1", "p d bad"],
            (3, 1),
            false,
        ),
        (
            json!([{"name": "h", "pre": [exec("bad", "Continue"), exec("2", "Fail")]}, {"name": "i", "pre": [exec("3", "Fail")]}]),
            vec!["p d bad", "p d 2", "p d 3"],
            (3, 1),
            true,
        ),
        (
            json!([{"name": "h", "includedNamespaces": ["bank"], "pre": [exec("1", "Fail")]},
                   {"name": "i", "includedNamespaces": ["sh*"], "includedResources": ["po"], "pre": [exec("2", "Fail")]},
                   {"name": "j", "labelSelector": {"matchLabels": {"name": "q"}}, "pre": [exec("3", "Fail")]},
                   {"name": "k", "labelSelector": {"matchLabels": {"name": "p"}}, "post": [exec("4", "Fail")]},
                   {"name": "l", "includedResources": ["deployments"], "pre": [exec("5", "Fail")]}]),
            vec!["p d 2", "p d 4"],
            (2, 0),
            true,
        ),
    ] {
        let bench = Bench::new(by_command);
        bench.pod("p", &[], json!({}));
        let done = back_up(&bench.server, with_hooks(resources.clone())).await;
        assert_eq!(bench.ran(), ran, "{resources}");
        assert_eq!(counts(&done), numbers, "{resources} {:?}", done.lines());
        assert_eq!(done.has("pods/namespaces/shop/p"), stored, "{resources}");
    }
}

#[tokio::test]
async fn annotations_hide_the_spec_of_their_phase() {
    let bench = Bench::new(by_command);
    bench.pod("p", &[], json!({"pre.command": "own"}));
    bench.pod("q", &[], json!({}));
    let spec = json!([{"name": "h", "pre": [{"exec": {"command": ["spec"]}}], "post": [{"exec": {"command": ["after"]}}]}]);
    back_up(&bench.server, with_hooks(spec)).await;
    assert_eq!(
        bench.ran(),
        ["p c own", "p c after", "q c spec", "q c after"]
    );
}

#[tokio::test]
async fn a_hook_that_never_ends_meets_its_timeout() {
    for (hooks, errors, warnings) in [
        (json!({"pre.command": "hang", "pre.timeout": "300ms"}), 1, 0),
        (json!({"pre.command": "quick", "pre.timeout": "soon"}), 0, 1),
    ] {
        let bench = Bench::new(by_command);
        bench.pod("p", &[], hooks);
        let done = back_up(&bench.server, shop()).await;
        let found = (done.result.errors(), done.result.warnings());
        assert_eq!(found, (errors, warnings), "{:?}", done.lines());
        assert!(done.has("pods/namespaces/shop/p"));
        let text = if errors > 0 {
            "the command did not end within 0.3 s: at work"
        } else {
            "annotation pre.hook.backup.velero.io/timeout: \"soon\" is no duration"
        };
        assert!(done.lines()[0].contains(text), "{:?}", done.lines());
    }
}

#[tokio::test]
async fn pods_that_have_ended_run_nothing_and_fail_nothing() {
    for phase in ["Succeeded", "Failed"] {
        let bench = Bench::new(by_command);
        let mut pod = hooked(
            "p",
            &[],
            json!({"pre.command": "bad", "pre.on-error": "Fail"}),
        );
        pod["status"]["phase"] = phase.into();
        seed(&bench.server, pod);
        let done = back_up(&bench.server, shop()).await;
        assert_eq!(
            bench.server.calls().count("create", "pods/exec")
                + bench.server.calls().count("get", "pods/exec"),
            0
        );
        assert_eq!(counts(&done), (1, 0), "{phase}");
        assert!(done.has("pods/namespaces/shop/p") && done.result.records.is_empty());
    }
    // The pod ends between its list and its hook.
    let cell: Arc<OnceLock<ApiServer>> = Arc::default();
    let server = Arc::clone(&cell);
    let bench = Bench::new(move |_| {
        let mut ended = hooked("b", &[], both());
        ended["status"]["phase"] = "Succeeded".into();
        let server = server.get().unwrap();
        server.store().remove("v1", "Pod", Some("shop"), "b");
        seed(server, ended);
        ExecResult::default()
    });
    assert!(cell.set(bench.server.clone()).is_ok());
    bench.pod("a", &[], json!({"pre.command": "x"}));
    bench.pod("b", &[], json!({"pre.command": "y"}));
    let done = back_up(&bench.server, shop()).await;
    assert_eq!(
        (bench.ran(), counts(&done)),
        (vec!["a c x".to_owned()], (2, 0))
    );
    assert!(done.result.records.is_empty(), "{:?}", done.lines());
}

#[tokio::test]
async fn a_pod_that_disappears_before_its_hook_is_told_and_counted() {
    for (mode, stored, numbers) in [("Continue", true, (4, 2)), ("Fail", false, (3, 1))] {
        let cell: Arc<OnceLock<ApiServer>> = Arc::default();
        let server = Arc::clone(&cell);
        let bench = Bench::new(move |_| {
            server
                .get()
                .unwrap()
                .store()
                .remove("v1", "Pod", Some("shop"), "b");
            ExecResult::default()
        });
        assert!(cell.set(bench.server.clone()).is_ok());
        bench.pod("a", &[], both());
        bench.pod(
            "b",
            &[],
            json!({"pre.command": "freeze", "pre.on-error": mode, "post.command": "thaw"}),
        );
        let done = back_up(&bench.server, shop()).await;
        assert_eq!(bench.ran(), ["a c freeze", "a c thaw"]);
        assert_eq!(counts(&done), numbers, "{mode}");
        assert_eq!(done.has("pods/namespaces/shop/b"), stored, "{mode}");
        assert!(
            done.lines()[0].contains("pods \"b\" not found"),
            "{:?}",
            done.lines()
        );
    }
}

#[tokio::test]
async fn a_refused_command_is_a_failed_hook() {
    let bench = Bench::new(by_command);
    bench.pod("p", &[], json!({"pre.command": "x"}));
    bench
        .server
        .faults()
        .add(Fault::new(FaultAction::Forbidden).resource("pods/exec"));
    let done = back_up(&bench.server, shop()).await;
    assert_eq!(
        (counts(&done), done.result.errors()),
        ((1, 1), 1),
        "{:?}",
        done.lines()
    );
    assert!(done.has("pods/namespaces/shop/p"));
}

#[tokio::test]
async fn an_invalid_hook_is_found_before_the_run() {
    for (resources, text) in [
        (
            json!([{"name": "h", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}, "pre": []}]),
            "spec.hooks.resources[0].labelSelector: ",
        ),
        (
            json!([{"name": "h", "pre": [{"exec": {"command": []}}]}]),
            "spec.hooks.resources[0].pre[0].exec.command: ",
        ),
    ] {
        let bench = Bench::new(by_command);
        let error = try_run(&engine(&bench.server).await, with_hooks(resources))
            .await
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn blocks_run_one_after_the_other_and_pods_of_a_block_together() {
    for (claims, order) in [
        (
            ["x", "y"],
            ["a c freeze", "a c thaw", "b c freeze", "b c thaw"],
        ),
        (
            ["x", "x"],
            ["a c freeze", "b c freeze", "a c thaw", "b c thaw"],
        ),
    ] {
        let bench = Bench::new(by_command);
        bench.pod("a", &[claims[0]], both());
        bench.pod("b", &[claims[1]], both());
        for claim_name in ["x", "y"] {
            seed(
                &bench.server,
                claim("shop", claim_name, &format!("pv-{claim_name}"), json!({})),
            );
        }
        let log = Arc::clone(&bench.log);
        let engine =
            engine(&bench.server)
                .await
                .action(on("pods", move |item: velero_core::ItemTree| {
                    log.lock().unwrap().push(format!("action {}", item.name()));
                    async { Ok(BackupOutcome::unchanged()) }
                }));
        run_with(&engine, shop()).await;
        let (actions, ran): (Vec<_>, Vec<_>) = bench
            .ran()
            .into_iter()
            .enumerate()
            .partition(|(_, l)| l.starts_with("action"));
        let ran_lines: Vec<&str> = ran.iter().map(|(_, l)| l.as_str()).collect();
        assert_eq!(ran_lines, order);
        for pod in ["a", "b"] {
            let place = |all: &[(usize, String)], line: String| {
                all.iter().find(|(_, l)| *l == line).unwrap().0
            };
            let action = place(&actions, format!("action {pod}"));
            assert!(
                place(&ran, format!("{pod} c freeze")) < action
                    && action < place(&ran, format!("{pod} c thaw"))
            );
        }
    }
}

#[tokio::test]
async fn a_stopped_pod_leaves_the_others_of_its_block() {
    let bench = Bench::new(by_command);
    bench.pod(
        "a",
        &["x"],
        json!({"pre.command": "bad", "pre.on-error": "Fail", "post.command": "thaw"}),
    );
    bench.pod("b", &["x"], both());
    seed(&bench.server, claim("shop", "x", "pv-x", json!({})));
    let done = back_up(&bench.server, shop()).await;
    assert_eq!(bench.ran(), ["a c bad", "b c freeze", "b c thaw"]);
    assert_eq!(
        done.of(&["pods", "persistentvolumeclaims"]),
        ["persistentvolumeclaims/shop/x", "pods/shop/b"]
            .map(String::from)
            .into()
    );
}

#[tokio::test]
async fn additional_items_run_no_hooks() {
    let bench = Bench::new(by_command);
    bench.pod("a", &[], json!({}));
    bench.pod("b", &[], both());
    let engine =
        engine(&bench.server)
            .await
            .action(on("pods", |item: velero_core::ItemTree| async move {
                let other = velero_core::ResourceIdentifier::namespaced(
                    velero_core::GroupResource::core("pods"),
                    "shop",
                    "b",
                );
                Ok(if item.name() == "a" {
                    BackupOutcome::unchanged().with([other])
                } else {
                    BackupOutcome::unchanged()
                })
            }));
    let done = run_with(&engine, shop()).await;
    assert!(bench.ran().is_empty());
    assert_eq!(counts(&done), (0, 0));
    assert_eq!(
        done.lines(),
        [
            "resource: /pods name: /b message: /its hooks do not run: it is stored as an additional item, outside of its block"
        ]
    );
    assert!(done.at("pods/namespaces/shop/b") < done.at("pods/namespaces/shop/a"));
}

#[tokio::test]
async fn blocks_run_at_the_same_time_in_one_order_of_the_archive() {
    let mut archives = Vec::new();
    for (workers, first) in [
        (1, ["a c freeze", "a c thaw"]),
        (2, ["a c freeze", "b c freeze"]),
    ] {
        let bench = Bench::new(|request| {
            let slow = request.pod == "a" && request.command[0] == "freeze";
            ExecResult::default().takes(Duration::from_millis(if slow { 400 } else { 20 }))
        });
        for name in ["a", "b", "d"] {
            bench.pod(name, &[], both());
        }
        bench.pod("c", &["x"], json!({}));
        let options = BackupOptions::default().item_block_workers(workers);
        let engine = BackupEngine::new(connect(&bench.server).await).options(options);
        let done = run_with(&engine, shop()).await;
        let ran = bench.ran();
        assert_eq!(ran[..2], first, "{ran:?}");
        assert_eq!((ran.len(), counts(&done)), (6, (6, 0)));
        archives.push(
            done.order
                .iter()
                .filter(|p| p.starts_with("pods/"))
                .cloned()
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(archives[0], archives[1]);
}

/// Waits until a line is in the log.
async fn wait_for(log: &Log, line: &str) {
    for _ in 0..200 {
        if log.lock().unwrap().iter().any(|l| l == line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{line:?} was never run: {:?}", log.lock().unwrap());
}

#[tokio::test]
async fn a_run_that_ends_early_leaves_no_pod_frozen() {
    for drop_it in [false, true] {
        let bench = Bench::new(by_command);
        bench.pod("p", &[], both());
        bench.pod("q", &[], both());
        let engine = engine(&bench.server)
            .await
            .action(on("pods", |_| std::future::pending()));
        let request = engine.request(&backup(shop())).await.unwrap();
        let cancel = CancellationToken::new();
        let log = Arc::clone(&bench.log);
        let trigger = cancel.clone();
        tokio::spawn(async move {
            wait_for(&log, "p c freeze").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            trigger.cancel();
        });
        if drop_it {
            let run = engine.run(&request, Kept::default(), run());
            tokio::select! {
                _ = run => panic!("it cannot end"),
                () = cancel.cancelled() => {}
            }
        } else {
            let error = engine
                .run(&request, Kept::default(), run().cancel(cancel))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled);
        }
        wait_for(&bench.log, "p c thaw").await;
        assert_eq!(bench.ran(), ["p c freeze", "p c thaw"]);
    }
}

#[tokio::test]
async fn a_run_that_fails_thaws_what_it_froze() {
    let bench = Bench::new(by_command);
    bench.pod("p", &[], both());
    let engine = engine(&bench.server).await;
    let request = engine.request(&backup(shop())).await.unwrap();
    engine
        .run(&request, crate::ending::Full(0), run())
        .await
        .unwrap_err();
    assert_eq!(bench.ran(), ["p c freeze", "p c thaw"]);
}

/// Keeps the messages of all events that have a word in them, of all tests: a subscriber for one thread would miss what
/// other threads have seen first.
#[derive(Clone, Default)]
struct Messages(Log);

const MARK: &str = "marked-output";

impl tracing::Subscriber for Messages {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("velero_backup")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        if text.0.contains(MARK) {
            self.0.lock().unwrap().push(text.0);
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn output_of_hooks_is_in_the_log_and_cut() {
    let messages = Messages::default();
    tracing::subscriber::set_global_default(messages.clone()).unwrap();
    let bench = Bench::new(|request| match request.command[0].as_str() {
        "freeze" => ExecResult::output(format!("{MARK} frozen\n")),
        _ => ExecResult::failure(1, format!("{MARK}{}", "x".repeat(100_000))),
    });
    bench.pod("p", &[], both());
    let done = back_up(&bench.server, shop()).await;
    let lines = messages.0.lock().unwrap().clone();
    let frozen = format!("pre hook of the pod's annotations: {MARK} frozen");
    assert_eq!(lines[0], frozen);
    // The output, and the record.
    let cut = format!("... ({} more bytes)", 100_000 + MARK.len() - 4096);
    assert!(
        lines[1].len() < 5000 && lines[1].ends_with(&cut),
        "{}",
        &lines[1][lines[1].len() - 60..]
    );
    assert_eq!(lines.len(), 3);
    assert!(done.lines()[0].len() < 600, "{:?}", done.lines());
}
