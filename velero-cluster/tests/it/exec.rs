use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use velero_cluster::{Cluster, ErrorKind, ExecError, ExecOptions};
use velero_testkit::{ApiServer, ExecEnding, ExecRequest, ExecResult, Fault, FaultAction};

use crate::seed;

/// A server with the pods `p` (containers `a` and `b`) and `done`, which has ended.
struct Bench {
    server: ApiServer,
    cluster: Cluster,
    /// Commands that were started.
    runs: Arc<AtomicUsize>,
}

async fn bench(handler: impl Fn(ExecRequest) -> ExecResult + Send + Sync + 'static) -> Bench {
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&runs);
    let server = ApiServer::builder()
        .exec(move |request| {
            counter.fetch_add(1, Ordering::SeqCst);
            handler(request)
        })
        .build();
    for (name, phase) in [("p", "Running"), ("done", "Succeeded")] {
        let containers = json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]);
        seed(
            &server,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
                "spec": {"containers": containers}, "status": {"phase": phase}}),
        );
    }
    let cluster = Cluster::connect(server.client()).await.unwrap();
    server.calls().reset();
    Bench {
        server,
        cluster,
        runs,
    }
}

fn run(words: &[&str]) -> ExecOptions {
    ExecOptions::new(words.iter().copied()).container("b")
}

#[tokio::test]
async fn commands_outputs_and_exit_codes() {
    let bench = bench(|request| match request.command[0].as_str() {
        "echo" => ExecResult::output(format!("{} {:?}", request.container, &request.command[1..])),
        "cause" => ExecResult::failure(3, "no luck\n"),
        "text" => ExecResult::failure(7, "no luck\n").ending(ExecEnding::Text),
        _ => ExecResult::default(),
    })
    .await;
    for (words, code, stdout, stderr) in [
        (&["echo", "x y", "&z=%"][..], 0, r#"b ["x y", "&z=%"]"#, ""),
        (&["cause"], 3, "", "no luck"),
        (&["text"], 7, "", "no luck"),
        (&["true"], 0, "", ""),
    ] {
        let done = bench
            .cluster
            .exec("default", "p", &run(words))
            .await
            .unwrap();
        assert_eq!(
            (
                done.exit_code,
                done.stdout.to_string(),
                done.stderr.to_string()
            ),
            (code, stdout.to_owned(), stderr.to_owned()),
            "{words:?}"
        );
    }
    let first = ExecOptions::new(["echo"]);
    let done = bench.cluster.exec("default", "p", &first).await.unwrap();
    assert_eq!(done.stdout.text(), "a []");
}

#[tokio::test]
async fn ends_that_tell_no_exit_code() {
    let bench = bench(|request| match request.command[0].as_str() {
        "missing" => ExecResult::output("half").ending(ExecEnding::NotStarted(
            "exec: \"missing\": executable file\nnot found in $PATH".into(),
        )),
        _ => ExecResult::output("half").ending(ExecEnding::Silence),
    })
    .await;
    for (word, text) in [
        (
            "missing",
            "the command did not run: Internal error occurred: exec: \"missing\": executable file not found in $PATH",
        ),
        ("silent", "the connection ended before the command did"),
    ] {
        let error = bench
            .cluster
            .exec("default", "p", &run(&[word]))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(error.output().unwrap().stdout.text(), "half");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_command_that_never_ends_meets_its_deadline() {
    let bench = bench(|_| ExecResult::output("working").ending(ExecEnding::Never)).await;
    let options = run(&["sleep"]).timeout(Duration::from_millis(300));
    let begin = Instant::now();
    let error = bench
        .cluster
        .exec("default", "p", &options)
        .await
        .unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.to_string(), "the command did not end within 0.3 s");
    assert_eq!(error.output().unwrap().stdout.text(), "working");
}

#[tokio::test]
async fn long_output_is_read_to_its_end_and_cut() {
    let bench = bench(|_| {
        let mut result = ExecResult::failure(1, vec![b'e'; 3 << 20]);
        result.stdout = vec![b'o'; 2 << 20];
        result
    })
    .await;
    let options = run(&["cat"]).output_limit(1000);
    let done = bench.cluster.exec("default", "p", &options).await.unwrap();
    assert_eq!(done.exit_code, 1);
    assert_eq!(
        (done.stdout.bytes.len(), done.stdout.cut),
        (1000, (2 << 20) - 1000)
    );
    assert_eq!(
        (done.stderr.bytes.len(), done.stderr.cut),
        (1000, (3 << 20) - 1000)
    );
}

#[tokio::test]
async fn pods_that_are_gone_or_have_ended() {
    let bench = bench(|_| ExecResult::default()).await;
    let exec = |pod: &'static str| {
        let cluster = bench.cluster.clone();
        async move {
            cluster
                .exec("default", pod, &run(&["true"]))
                .await
                .unwrap_err()
        }
    };
    let gone = exec("gone").await;
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
    assert!(!gone.pod_has_ended());
    let done = exec("done").await;
    assert!(done.pod_has_ended(), "{done}");
    assert_eq!(bench.runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_command_is_started_once() {
    let bench = bench(|_| ExecResult::default()).await;
    let command = run(&["true"]);
    for (action, kind, calls) in [
        (FaultAction::Forbidden, Some(ErrorKind::Forbidden), 1),
        (FaultAction::InternalError, Some(ErrorKind::Unavailable), 1),
        (
            FaultAction::ConnectionReset,
            Some(ErrorKind::Unreachable),
            1,
        ),
        (
            FaultAction::TooManyRequests {
                retry_after_seconds: 1,
            },
            None,
            2,
        ),
    ] {
        bench.server.calls().reset();
        bench.server.faults().clear();
        bench
            .server
            .faults()
            .add(Fault::new(action.clone()).resource("pods/exec").times(1));
        let outcome = bench.cluster.exec("default", "p", &command).await;
        assert_eq!(
            outcome.as_ref().err().map(ExecError::kind),
            kind,
            "{action:?}"
        );
        assert_eq!(bench.server.calls().total(), calls, "{action:?}");
    }
    assert_eq!(bench.runs.load(Ordering::SeqCst), 1);
}
