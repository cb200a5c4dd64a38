//! Hooks around blocks: their order, and that nothing stays frozen.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use velero_backup::{BackupEngine, BackupOptions, ErrorKind};
use velero_core::action::{BackupOperation, BackupOutcome};
use velero_core::result::Record;
use velero_core::{CancellationToken, ItemTree};
use velero_testkit::ExecResult;

use crate::acting::{id, on};
use crate::bench::{Bench, Log, both, by_command, counts, wait_for};
use crate::support::*;

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
        let engine = engine(&bench.server)
            .await
            .action(on("pods", move |item: ItemTree| {
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
    let engine = engine(&bench.server)
        .await
        .action(on("pods", |item: ItemTree| async move {
            let other = id("pods", "shop", "b");
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

/// Two pods that need the same map, and one of them the other: with two workers either block can be ready first.
#[tokio::test]
async fn what_two_blocks_ask_for_is_worked_on_once() {
    let mut orders = Vec::new();
    for (workers, slow) in [(1, "a"), (2, "a"), (2, "b")] {
        let bench = Bench::new(move |request| {
            let slow = request.pod == slow && request.command[0] == "freeze";
            ExecResult::default().takes(Duration::from_millis(if slow { 400 } else { 20 }))
        });
        for name in ["a", "b"] {
            bench.pod(name, &[], both());
        }
        seed(&bench.server, map("shop", "m", json!({})));
        let log = Arc::clone(&bench.log);
        let note = move |item: &ItemTree| log.lock().unwrap().push(format!("on {}", item.name()));
        let noted = note.clone();
        let pods = on("pods", move |item: ItemTree| {
            noted(&item);
            let needs = [id("configmaps", "shop", "m"), id("pods", "shop", "b")];
            async move { Ok(BackupOutcome::unchanged().with(needs)) }
        });
        let maps = on("cm", move |item: ItemTree| {
            note(&item);
            async { Ok(BackupOutcome::unchanged().started(BackupOperation::new("op"))) }
        });
        let options = BackupOptions::default().item_block_workers(workers);
        let engine = BackupEngine::new(connect(&bench.server).await).options(options);
        let engine = engine.action(pods).action(maps);
        let spec = json!({"includedNamespaces": ["shop"], "includedResources": ["pods", "cm"]});
        let done = run_with(&engine, spec).await;
        let ran = bench.ran();
        for name in ["a", "b", "m"] {
            let line = format!("on {name}");
            let times = ran.iter().filter(|ran| **ran == line).count();
            assert_eq!(times, 1, "{workers} {slow}: {name} in {ran:?}");
        }
        // Each of the two maps has started one operation, and both are known.
        assert_eq!(done.result.item_operations.len(), 2);
        assert_eq!(done.result.total, done.result.backed_up);
        orders.push(done.order);
    }
    assert!(orders.iter().all(|order| *order == orders[0]));
    let place = |name: &str| orders[0].iter().position(|path| path.ends_with(name));
    assert!(place("shop/m") < place("shop/b") && place("shop/b") < place("shop/a"));
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

#[tokio::test]
async fn a_pre_hook_that_a_cancelled_run_ends_is_noted() {
    let bench = Bench::new(by_command);
    bench.pod("p", &[], json!({"pre.command": "hang"}));
    let engine = engine(&bench.server).await;
    let request = engine.request(&backup(shop())).await.unwrap();
    let cancel = CancellationToken::new();
    let (log, trigger) = (Arc::clone(&bench.log), cancel.clone());
    tokio::spawn(async move {
        wait_for(&log, "p c hang").await;
        trigger.cancel();
    });
    let run = run().cancel(cancel);
    let noted = run.noted.clone();
    let ended = engine.run(&request, Kept::default(), run).await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled);
    let lines: Vec<String> = noted.take().iter().map(Record::line).collect();
    assert_eq!(
        lines,
        [
            "resource: /pods name: /p error: /the backup was ended while its pre hooks ran; whether they have done their work is not known"
        ]
    );
}

#[tokio::test]
async fn a_post_hook_that_fails_at_an_early_end_is_noted() {
    let bench = Bench::new(by_command);
    bench.pod(
        "p",
        &[],
        json!({"pre.command": "freeze", "post.command": "bad"}),
    );
    let engine = engine(&bench.server).await;
    let request = engine.request(&backup(shop())).await.unwrap();
    let run = run();
    let noted = run.noted.clone();
    let failed = engine.run(&request, crate::ending::Full(0), run).await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Sink);
    let lines: Vec<String> = noted.take().iter().map(Record::line).collect();
    assert!(
        lines.len() == 1 && lines[0].contains("post hook of the pod's annotations: exit code 3"),
        "{lines:?}"
    );
}

/// Keeps the messages of all events that have a word in them, of all tests: a subscriber for one thread would miss what
/// other threads have seen first.
#[derive(Clone, Default)]
struct Messages(Log);

const MARK: &str = "marked-output";

impl tracing::Subscriber for Messages {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        let ours = ["velero_backup", "velero_cluster", "velero_core"];
        ours.iter()
            .any(|target| metadata.target().starts_with(target))
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
