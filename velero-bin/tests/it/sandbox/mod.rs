//! The sandbox.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::program::{command, run};

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_loses_nothing() {
    let home = TempDir::new().unwrap();
    let text = run(command(home.path(), ["sandbox", "demo"]))
        .await
        .exits(0);
    assert!(
        text.contains("\nnothing missing, nothing changed"),
        "{text}"
    );
    let steps = text
        .lines()
        .filter(|line| line.starts_with(char::is_numeric));
    assert_eq!(steps.count(), 5, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_notices_every_loss_and_change() {
    let home = TempDir::new().unwrap();
    for (how, expected) in [
        ("delete", "v1/ConfigMap shop/settings: missing"),
        ("change", "data.theme: \"dark\" became \"broken\""),
    ] {
        let text = run(command(
            home.path(),
            ["sandbox", "demo", "--break-object", how],
        ))
        .await
        .exits(1);
        assert!(
            text.contains(expected) && !text.contains("nothing missing"),
            "{text}"
        );
    }
}

/// A sandbox that runs until it is dropped.
struct Sandbox {
    child: Child,
    home: TempDir,
    kubeconfig: String,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sandbox {
    fn start() -> Self {
        let home = TempDir::new().unwrap();
        let mut child = command(home.path(), ["sandbox"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let (_, kubeconfig) = first
            .split_once("its kubeconfig is ")
            .unwrap_or_else(|| panic!("{first}"));
        for line in lines {
            if line.unwrap().starts_with("Ctrl-C") {
                break;
            }
        }
        Self {
            child,
            home,
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    async fn velero(&self, line: &str) -> crate::program::Ran {
        let mut command = command(self.home.path(), line.split(' '));
        command.env("KUBECONFIG", &self.kubeconfig);
        run(command).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_runs_the_operator_and_ends_cleanly() {
    let mut sandbox = tokio::task::spawn_blocking(Sandbox::start).await.unwrap();
    let text = sandbox
        .velero("backup create first --include-namespaces shop --wait")
        .await
        .exits(0);
    assert!(
        text.contains("Backup completed with status: Completed."),
        "{text}"
    );
    let text = sandbox.velero("backup get").await.exits(0);
    assert!(
        text.contains("first") && text.contains("Completed"),
        "{text}"
    );
    Command::new("kill")
        .args(["-INT", &sandbox.child.id().to_string()])
        .status()
        .unwrap();
    let status = sandbox.child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(!std::path::Path::new(&sandbox.kubeconfig).exists());
}
