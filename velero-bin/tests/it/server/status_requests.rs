//! Answers to who asks what the server is.

use serde_json::json;
use velero_bin::server::Settings;
use velero_core::api::{ServerStatusRequest, ServerStatusRequestPhase};

use super::world::{Ahead, World, settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_and_goes_after_a_minute() {
    let ahead = Ahead::default();
    let mut world = World::empty();
    let settings = Settings {
        clock: ahead.clock(),
        ..settings()
    };
    world.start(settings).await;
    let ask = json!({"metadata": {"name": "q"}, "spec": {}});
    world.create::<ServerStatusRequest>(ask.clone()).await;
    let is = |request: &ServerStatusRequest| {
        request.status.phase == Some(ServerStatusRequestPhase::Processed)
    };
    let answered = world
        .wait::<ServerStatusRequest>("q", "is answered", is)
        .await;
    assert_eq!(
        answered.status.server_version,
        format!("v{}", env!("CARGO_PKG_VERSION"))
    );
    assert!(answered.status.processed_timestamp.is_some());
    let named = |kind: &str, name: &str| {
        answered
            .status
            .plugins
            .iter()
            .any(|info| info.kind == kind && info.name == name)
    };
    assert!(
        named("BackupItemAction", "velero.io/pv") && named("RestoreItemAction", "velero.io/job")
    );
    assert!(named("ObjectStore", "velero.io/filesystem"));
    // Who asks right after it is looked at finds it.
    assert!(world.get::<ServerStatusRequest>("q").await.is_some());
    world.stop().await;
    ahead.set(61);
    let settings = Settings {
        clock: ahead.clock(),
        ..super::world::settings()
    };
    world.start(settings).await;
    world.wait_gone::<ServerStatusRequest>("q").await;
}
