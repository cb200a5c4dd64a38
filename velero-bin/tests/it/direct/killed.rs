//! Restores of direct mode that are killed: the same command goes on with them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use velero_testkit::{Fault, FaultAction};

use crate::program::{Cluster, Ran, files};
use crate::server::gunzip;

/// A backup of `shop`, and the command that restores it as `copy`.
struct Bench {
    cluster: Cluster,
    folder: TempDir,
    args: Vec<String>,
}

impl Bench {
    async fn new(flags: &[&str]) -> Self {
        let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
        let store = format!("file://{}", folder.path().display());
        let backup = [
            "direct",
            "backup",
            "first",
            "--include-namespaces",
            "shop",
            "--store",
            &store,
        ];
        cluster.run(backup).await.exits(0);
        let restore = [
            "direct",
            "restore",
            "first",
            "--namespace-mappings",
            "shop:copy",
            "--store",
            &store,
        ];
        let args = restore.iter().chain(flags).map(|word| (*word).to_owned());
        Self {
            args: args.collect(),
            cluster,
            folder,
        }
    }

    /// Begins the restore, which gets stuck with its second ConfigMap.
    async fn begin(&self) -> Child {
        self.cluster.server.faults().add(
            Fault::new(FaultAction::Slow(Duration::from_secs(60)))
                .verb("create")
                .resource("configmaps")
                .namespace("copy")
                .skip(1),
        );
        let mut command = self.cluster.command(&self.args);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..600 {
            if self.of_copy().len() == 2 {
                return child;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        panic!(
            "the restore never got so far: {:?}",
            self.cluster.server.calls().counts()
        );
    }

    /// The answers to what was asked to be created in `copy` of ConfigMaps.
    fn of_copy(&self) -> Vec<u16> {
        let calls = self.cluster.server.calls().log().into_iter();
        let own = calls.filter(|call| {
            call.verb == "create"
                && call.resource == "configmaps"
                && call.namespace.as_deref() == Some("copy")
        });
        own.map(|call| call.code).collect()
    }

    /// Begins the restore and kills it in the middle.
    async fn kill(&self) {
        let mut child = self.begin().await;
        child.kill().unwrap();
        child.wait().unwrap();
        self.cluster.server.faults().clear();
    }

    async fn again(&self, flags: &[&str]) -> Ran {
        let flags = flags.iter().map(|word| (*word).to_owned());
        self.cluster
            .run(self.args.iter().cloned().chain(flags))
            .await
    }

    /// Files of restores that are under way or were.
    fn left(&self) -> Vec<String> {
        let mut files = files(&self.folder.path().join("restores"));
        files.retain(|file| file.contains("x-velero"));
        files
    }

    fn uid(&self, name: &str) -> Option<String> {
        let found = self
            .cluster
            .server
            .store()
            .get("v1", "ConfigMap", Some("copy"), name)?;
        found["metadata"]["uid"].as_str().map(str::to_owned)
    }
}

/// The name of the restore that a command tells of.
fn name(text: &str) -> &str {
    text.split("Restore \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or(text)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_goes_on_with_a_killed_restore() {
    let bench = Bench::new(&[]).await;
    let mut child = bench.begin().await;
    let pid = child.id();
    let message = bench.again(&[]).await.fails();
    assert!(
        message.contains("is under way in process")
            && message.contains(&pid.to_string())
            && message.contains("--restart"),
        "{message}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    bench.cluster.server.faults().clear();
    let before: Vec<_> = ["settings", "other"]
        .map(|n| bench.uid(n))
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(
        (before.len(), bench.left().len()),
        (1, 1),
        "{:?}",
        bench.left()
    );
    let killed = bench.left()[0].split('/').next().unwrap().to_owned();

    let again = bench.again(&[]).await;
    assert!(
        again.stderr.contains("was interrupted and goes on"),
        "{}",
        again.stderr
    );
    let text = again.exits(0);
    assert_eq!(name(&text), killed);
    assert!(
        text.contains("Completed") && !text.contains("differs"),
        "{text}"
    );
    let now = ["settings", "other"].map(|n| bench.uid(n).unwrap());
    assert!(now.contains(&before[0]), "an object was created anew");
    // The one that got stuck was dropped with its process.
    assert_eq!(
        bench.of_copy().iter().filter(|code| **code == 201).count(),
        2,
        "{:?}",
        bench.of_copy()
    );
    assert_eq!(bench.left(), Vec::<String>::new());
    let created = text
        .lines()
        .find(|line| line.trim_start().starts_with("Created"))
        .unwrap();
    assert!(created.ends_with(" 4"), "{text}");

    // It has ended: the same command begins a new one.
    let third = bench.again(&[]).await;
    assert!(!third.stderr.contains("goes on"), "{}", third.stderr);
    assert_ne!(name(&third.exits(0)), killed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_leaves_its_log_and_results() {
    let bench = Bench::new(&["--restore-name", "r"]).await;
    // Secrets come before ConfigMaps.
    bench.cluster.server.faults().add(
        // Later than the interrupt, and soon enough for a run that was cancelled.
        Fault::new(FaultAction::Slow(Duration::from_secs(1)))
            .verb("create")
            .resource("secrets")
            .namespace("copy"),
    );
    let mut command = bench.cluster.command(&bench.args);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let calls = || bench.cluster.server.calls();
    let mut asked = false;
    for _ in 0..600 {
        let log = calls().log().into_iter();
        let mut of_copy = log.filter(|call| call.namespace.as_deref() == Some("copy"));
        asked = of_copy.any(|call| call.verb == "create" && call.resource == "secrets");
        if asked {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pid = child.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let mut status = child.try_wait().unwrap();
    for _ in 0..600 {
        if status.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = child.try_wait().unwrap();
    }
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(asked, "no Secret came after 30 s: {:?}", calls().counts());
    let code = status.and_then(|status| status.code());
    assert_eq!(code, Some(1), "the restore has not ended well in 30 s");

    let dir = bench.folder.path().join("restores/r");
    assert_eq!(
        files(&dir),
        [
            "r-volumeinfo.json.gz",
            "restore-r-itemoperations.json.gz",
            "restore-r-logs.gz",
            "restore-r-resource-list.json.gz",
            "restore-r-results.gz",
        ]
    );
    let log = gunzip(&dir.join("restore-r-logs.gz"));
    assert!(
        log.contains("starting the restore") && log.contains("phase=Failed"),
        "{log}"
    );
    let results = gunzip(&dir.join("restore-r-results.gz"));
    let results: Value = serde_json::from_str(&results).unwrap();
    let told = results["errors"]["velero"].to_string();
    assert!(
        told.contains("the restore was cancelled; what it has created stays"),
        "{results}"
    );
    let list = gunzip(&dir.join("restore-r-resource-list.json.gz"));
    assert!(list.contains("copy/key(created)"), "{list}");
    // Nothing more was taken up, and there is nothing to go on with.
    assert_eq!(bench.of_copy(), Vec::<u16>::new());
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn other_flags_or_a_restart_begin_anew() {
    let bench = Bench::new(&[]).await;
    bench.kill().await;
    let killed = bench.left();
    let other = bench.again(&["--include-resources", "secrets"]).await;
    assert!(!other.stderr.contains("goes on"), "{}", other.stderr);
    other.exits(0);
    assert_eq!(bench.left(), killed);
    let anew = bench.again(&["--restart"]).await;
    assert!(!anew.stderr.contains("goes on"), "{}", anew.stderr);
    anew.exits(0);
    // What has begun anew is not gone on with.
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn where_the_store_takes_nothing_a_config_map_holds_the_journal() {
    let bench = Bench::new(&["--restore-name", "r"]).await;
    // Nothing can lie below a file, whoever writes.
    std::fs::write(bench.folder.path().join("restores"), "").unwrap();
    bench.kill().await;
    let maps = |namespace: &str| {
        let mut all = bench
            .cluster
            .server
            .store()
            .list("v1", "ConfigMap", Some(namespace));
        all.retain(|map| map["metadata"]["labels"]["x.velero.io/restore-journal"].is_string());
        all.len()
    };
    assert_eq!(maps("default"), 1);
    let again = bench.again(&[]).await;
    assert!(
        again.stderr.contains("was interrupted and goes on"),
        "{}",
        again.stderr
    );
    let text = again.exits(0);
    assert!(
        text.contains("Restore \"r\"") && !text.contains("differs"),
        "{text}"
    );
    assert_eq!(
        bench.of_copy().iter().filter(|code| **code == 201).count(),
        2
    );
    assert_eq!(maps("default"), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_interrupted_long_ago_goes_on_only_if_it_is_told_to() {
    let bench = Bench::new(&[]).await;
    bench.kill().await;
    let path = bench.folder.path().join("restores").join(&bench.left()[0]);
    let mut journal: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let long_ago = (jiff::Timestamp::now() - jiff::SignedDuration::from_mins(150)).to_string();
    journal["claim"]["renewed"] = json!(long_ago);
    journal["entries"]["since"] = json!(long_ago);
    std::fs::write(&path, journal.to_string()).unwrap();
    let before = bench.of_copy().len();
    let message = bench.again(&[]).await.fails();
    let killed = bench.left()[0].split('/').next().unwrap().to_owned();
    for part in [
        format!("restore {killed:?} was interrupted 2 h 30 min ago").as_str(),
        "--resume goes on with it",
        "--restart begins a new one",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(bench.of_copy().len(), before);
    let again = bench.again(&["--resume"]).await;
    assert!(
        again.stderr.contains("was interrupted and goes on"),
        "{}",
        again.stderr
    );
    assert_eq!(name(&again.exits(0)), killed);
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_of_another_restore_of_the_same_name_stays() {
    let bench = Bench::new(&["--restore-name", "r"]).await;
    let dir = bench.folder.path().join("restores/r");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("x-velero-journal.json");
    let others = r#"{"identity": "another", "entries": {}}"#;
    std::fs::write(&file, others).unwrap();
    bench.kill().await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), others);
    let again = bench.again(&[]).await;
    assert!(
        again.stderr.contains("was interrupted and goes on"),
        "{}",
        again.stderr
    );
    assert!(again.exits(0).contains("Restore \"r\""));
    assert_eq!(
        bench.of_copy().iter().filter(|code| **code == 201).count(),
        2
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), others);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_made_anew_is_another_command() {
    let bench = Bench::new(&[]).await;
    let file = bench.cluster.home.path().join("plan.jsonl");
    let (path, store) = (file.display().to_string(), bench.args.last().unwrap());
    let carry_out = ["direct", "restore", "--plan-file", &path, "--store", store];
    let carry_out = carry_out.map(str::to_owned).to_vec();
    let words = ["direct", "plan", "--restore-name", "r", "-o", "json"].map(str::to_owned);
    let plan: Vec<String> = words
        .into_iter()
        .chain(bench.args[2..].iter().cloned())
        .collect();
    std::fs::write(&file, bench.cluster.run(&plan).await.exits(0)).unwrap();
    let bench = Bench {
        args: carry_out,
        ..bench
    };
    bench.kill().await;
    assert_eq!(bench.left(), ["r/x-velero-journal.json"]);
    // It finds another world than the first one did.
    std::fs::write(&file, bench.cluster.run(&plan).await.exits(0)).unwrap();
    let other = bench.again(&[]).await;
    assert!(!other.stderr.contains("goes on"), "{}", other.stderr);
    other.exits(0);
    assert_eq!(bench.left(), ["r/x-velero-journal.json"]);
}
