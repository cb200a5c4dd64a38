//! Which hooks run, where, and what their failures mean.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use velero_backup::ErrorKind;
use velero_testkit::{ApiServer, ExecRequest, ExecResult, Fault, FaultAction};

use crate::bench::{Bench, both, by_command, counts, hooked};
use crate::support::*;

fn with_hooks(resources: Value) -> Value {
    json!({"includedNamespaces": ["shop"], "hooks": {"resources": resources}})
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
        // Nobody who may annotate a pod writes to the terminals of others.
        (
            json!({"pre.command": "colours"}),
            "pre hook of the pod's annotations: exit code 9 in container c: \\u{1b}[31mRED line2 \\u{7}\\u{0}; the pod is backed up all the same",
        ),
    ] {
        let bench = Bench::new(|request: &ExecRequest| match request.command[0].as_str() {
            "colours" => ExecResult::failure(9, "\x1b[31mRED\r\nline2 \x07\0\n"),
            _ => by_command(request),
        });
        bench.pod("p", &[], hooks);
        let done = back_up(&bench.server, shop()).await;
        assert_eq!(
            done.lines(),
            [format!("resource: /pods name: /p error: /{text}")]
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_hooks_and_passed_over_is_told() {
    let bench = Bench::new(by_command);
    bench.pod(
        "p",
        &[],
        json!({"pre.command": "ok", "pre.on-error": "fail", "pre.timeout": "soon"}),
    );
    let entry = json!({"name": "h", "includedResources": ["deploymentz"], "pre": [{"exec": {"command": ["a"]}}]});
    let done = back_up(&bench.server, with_hooks(json!([entry]))).await;
    let expected = [
        "message: /spec.hooks.resources[0]: hook \"h\" never runs: its ",
        "resource: /pods name: /p message: /annotation pre.hook.backup.velero.io/timeout: \"soon\" is no duration",
        "resource: /pods name: /p message: /annotation pre.hook.backup.velero.io/on-error: \"fail\" is neither ",
    ];
    let lines = done.lines();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(done.result.errors(), 0);
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
