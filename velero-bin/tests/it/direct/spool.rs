//! Where the items of large backups lie while they are restored.
#![cfg(target_os = "linux")]

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use velero_testkit::{Fault, FaultAction};

use crate::program::Cluster;
use crate::server::eventually;
use crate::spooled;

#[tokio::test(flavor = "multi_thread")]
async fn items_lie_in_the_folder_asked_for_and_go_with_the_process() {
    let (source, folder) = (Cluster::start().await, TempDir::new().unwrap());
    spooled::seed(&source.server, "shop");
    let store = format!("file://{}", folder.path().display());
    let line = format!("direct backup b --store {store} --include-namespaces shop");
    source.velero(&line).await.exits(0);

    let (target, spool) = (Cluster::start().await, TempDir::new().unwrap());
    let slow = Fault::new(FaultAction::Slow(Duration::from_secs(60)))
        .verb("create")
        .resource("configmaps");
    target.server.faults().add(slow);
    let line = format!(
        "direct restore b --store {store} --spool-dir {}",
        spool.path().display()
    );
    let mut command = target.command(line.split(' '));
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let open = eventually(async || {
        let open = spooled::open_files(child.id(), spool.path());
        (!open.is_empty()).then_some(open)
    });
    let open = open.await;
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let open = open.unwrap_or_else(|| panic!("nothing lies in the folder; ended: {ended:?}"));
    spooled::assert_nameless(&open, spool.path());
}
