use serde_json::json;
use velero_backup::{BackupEngine, BackupOptions};
use velero_cluster::ListOptions;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_objects_over_many_namespaces() {
    let server = velero_testkit::ApiServer::new();
    for ns in 0..30 {
        let ns = format!("n{ns:02}");
        seed(&server, namespace(&ns, json!({})));
        for at in 0..100 {
            seed(&server, map(&ns, &format!("m{at:03}"), json!({})));
        }
    }
    server.calls().reset();
    let options = BackupOptions::default().list(ListOptions::default().page_size(500));
    let engine = BackupEngine::new(connect(&server).await).options(options);
    let done = run_with(&engine, json!({})).await;
    assert_eq!(
        done.of(&["configmaps"])
            .iter()
            .filter(|p| p.contains("/m"))
            .count(),
        3000
    );
    assert!(server.calls().count("list", "configmaps") <= 7);
    assert!(
        server.calls().total() < 100,
        "{:?}",
        server.calls().counts()
    );
}
