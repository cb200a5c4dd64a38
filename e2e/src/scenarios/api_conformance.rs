//! The checks by which the in-process API server is tested hold on the real one too.

use anyhow::{Result, bail};
use futures::StreamExt;
use velero_testkit::conformance;

use crate::{Context, Options};

/// How many checks run at once.
const AT_ONCE: usize = 4;

/// Runs every check of the suite.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let options = Options {
        scheduler: false,
        nodes: 0,
        audit: false,
        ..Options::default()
    };
    let plane = cx.control_plane(options).await?;
    let client = plane.client_as("conformance/1").await?;
    let runs = conformance::checks().into_iter().map(|check| {
        let client = client.clone();
        async move {
            check
                .run(client)
                .await
                .err()
                .map(|error| format!("{}: {error}", check.name))
        }
    });
    let failed: Vec<String> = futures::stream::iter(runs)
        .buffer_unordered(AT_ONCE)
        .filter_map(|f| async { f })
        .collect()
        .await;
    plane.stop().await;
    if !failed.is_empty() {
        bail!(
            "{} checks do not hold on a real API server:\n{}",
            failed.len(),
            failed.join("\n")
        );
    }
    Ok(())
}
