//! Every conformance check, on the server in process.

use velero_testkit::{ApiServer, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_checks_hold() {
    let server = ApiServer::new();
    let runs = conformance::checks().into_iter().map(|check| {
        let client = server.client();
        async move {
            check
                .run(client)
                .await
                .err()
                .map(|error| format!("{}: {error}", check.name))
        }
    });
    let failed: Vec<String> = futures::future::join_all(runs)
        .await
        .into_iter()
        .flatten()
        .collect();
    assert!(
        failed.is_empty(),
        "{} checks failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    let namespaces = server.store().list("v1", "Namespace", None);
    assert!(
        namespaces
            .iter()
            .all(|n| !n["metadata"]["name"].as_str().unwrap().starts_with("cf-")),
        "namespaces stay"
    );
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = conformance::checks().iter().map(|c| c.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count >= 100, "{count} checks");
}
