//! The API server's own log of what we write: our name on each call, a field manager on each write.

use anyhow::{Result, ensure};

use crate::{Context, S3Server, Site, site::SOON, state, world};

/// Backs up, restores twice, deletes, in operator and direct mode; then reads the audit log.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    store.create_bucket("audited")?;
    let site = Site::start(cx, "audited", &store, "audited").await?;
    world::create(&site.kubectl, 1).await?;
    state::at_rest(&site.client, SOON).await?;
    site.back_up("first", &["--include-namespaces", "team-0"])
        .await?;
    // A node port that the user has chosen can be there once only.
    let mapped = [
        "--namespace-mappings",
        "team-0:copy",
        "--exclude-resources",
        "services",
    ];
    site.restore("again", "first", &[]).await?;
    site.restore("copied", "first", &mapped).await?;
    let folder = format!("file://{}", cx.scratch().join("direct").display());
    let direct = ["direct", "backup", "second", "--store", &folder];
    site.velero.ok(&direct).await?;
    let direct = ["direct", "restore", "second", "--store", &folder];
    let copy = [
        "--include-namespaces",
        "team-0",
        "--namespace-mappings",
        "team-0:other",
        "--exclude-resources",
        "services",
    ];
    site.velero.ok(&[&direct[..], &copy].concat()).await?;
    site.velero
        .ok(&["backup", "delete", "first", "--confirm"])
        .await?;
    site.gone("backups", "first").await?;
    let writes = site.check_writes()?;
    // Two restores of some forty objects each.
    ensure!(
        writes > 80,
        "the audit log has {writes} writes of ours only"
    );
    report(writes);
    site.stop().await
}

#[allow(clippy::print_stdout)]
fn report(writes: usize) {
    println!("  {writes} writes of ours, each with user agent and field manager");
}
