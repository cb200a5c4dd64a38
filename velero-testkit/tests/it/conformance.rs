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
    for _ in 0..200 {
        let namespaces = server.store().list("v1", "Namespace", None);
        let left = namespaces
            .iter()
            .filter(|n| n["metadata"]["name"].as_str().unwrap().starts_with("cf-"));
        if left.count() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("namespaces of checks stay");
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
