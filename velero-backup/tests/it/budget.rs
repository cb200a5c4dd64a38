//! How many lists a backup reads for what lies beside the lists of its kinds.

use serde_json::{Value, json};
use velero_backup::{BackupEngine, BackupOptions};
use velero_cluster::ListOptions;
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::support::*;

async fn paged(server: &ApiServer, page: u32, held: usize) -> BackupEngine {
    let options = BackupOptions::default()
        .list(ListOptions::default().page_size(page))
        .held_bytes(held);
    BackupEngine::new(connect(server).await).options(options)
}

const HELD: usize = 16 << 20;

#[tokio::test]
async fn bindings_are_read_once() {
    const BINDINGS: &str = "clusterrolebindings";
    let server = world();
    bind_accounts(&server, 70);
    let mut labelled = object("v1", "ServiceAccount", "shop", "sa-00042", json!({}));
    labelled["metadata"]["labels"] = json!({"app": "x"});
    seed(&server, labelled);
    let bound = "clusterrolebindings.rbac.authorization.k8s.io/cluster/bound-00042";
    let role = "clusterroles.rbac.authorization.k8s.io/cluster/reader";
    for (spec, held, lists, has_role) in [
        (json!({}), HELD, 3, true),
        // Where the kind is in the backup, and where it is not.
        (
            json!({"includedResources": ["sa", BINDINGS]}),
            HELD,
            3,
            false,
        ),
        (shop(), HELD, 3, true),
        // A list that label selectors narrow does not hold them all.
        (
            json!({"includeClusterResources": true, "labelSelector": {"matchLabels": {"app": "x"}}}),
            HELD,
            1 + 3,
            false,
        ),
        // More than may be held.
        (json!({}), 0, 3 + 3, true),
    ] {
        let engine = paged(&server, 30, held).await;
        server.calls().reset();
        let done = run_with(&engine, spec.clone()).await;
        assert_eq!(server.calls().count("list", BINDINGS), lists, "{spec}");
        assert!(done.has(bound), "{spec}");
        assert_eq!(done.has(role), has_role, "{spec}");
        let missing = "additional item of clusterrolebindings";
        assert!(!done.lines().iter().any(|line| line.contains(missing)));
    }
    // One list that fails is one error, whether it was read for the accounts or would have been read anyway.
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("list")
            .resource(BINDINGS),
    );
    for spec in [json!({}), shop()] {
        let engine = paged(&server, 30, HELD).await;
        server.calls().reset();
        let done = run_with(&engine, spec.clone()).await;
        assert_eq!(server.calls().count("list", BINDINGS), 1, "{spec}");
        assert_eq!(done.result.errors(), 1, "{spec} {:?}", done.lines());
        assert!(done.has("serviceaccounts/namespaces/shop/runner"), "{spec}");
    }
}

/// 45 namespaces with a pod `a` that has the label, and `b` and `c` without: `b` uses the claim of `a`, too.
fn shared_claims() -> ApiServer {
    let server = ApiServer::new();
    let running = |name: &str, ns: &str, claim: Option<&str>, labels: Value| {
        let mut pod = pod(ns, name, claim, labels);
        pod["status"] = json!({"phase": "Running"});
        pod
    };
    for at in 0..45 {
        let ns = &format!("n{at:02}");
        seed(&server, namespace(ns, json!({})));
        seed(&server, running("a", ns, Some("data"), json!({"app": "x"})));
        seed(&server, running("b", ns, Some("data"), json!({})));
        seed(&server, running("c", ns, None, json!({})));
        seed(&server, claim(ns, "data", "", json!({})));
    }
    // A claim with the label in a namespace without such a pod.
    seed(&server, namespace("m", json!({})));
    seed(&server, claim("m", "own", "", json!({"app": "x"})));
    seed(&server, running("d", "m", Some("own"), json!({})));
    server
}

#[tokio::test]
async fn running_pods_beyond_selectors_are_listed_once() {
    let server = shared_claims();
    let some = |names: &[&str]| json!(names);
    for (what, names, page, held, refused, lists) in [
        ("all", json!([]), 50, HELD, false, 1 + 3),
        ("one", some(&["n07"]), 50, HELD, false, 1 + 1),
        // As far as the last of them: by one list where all of it is few pages, and else by namespace behind one page.
        ("few", some(&["n03", "n07"]), 50, HELD, false, 1 + 1),
        (
            "few of many",
            some(&["n03", "n07"]),
            5,
            HELD,
            false,
            9 + 1 + 2,
        ),
        // Each namespace by itself.
        ("refused", json!([]), 50, HELD, true, 1 + 1 + 46),
        ("nothing held", json!([]), 50, 0, false, 1 + 1 + 46),
    ] {
        server.faults().clear();
        if refused {
            let list = Fault::new(FaultAction::Forbidden)
                .verb("list")
                .resource("pods");
            server.faults().add(list.query("fieldSelector").times(1));
        }
        let engine = paged(&server, page, held).await;
        server.calls().reset();
        let selector = json!({"matchLabels": {"app": "x"}});
        let spec = json!({"includedNamespaces": names, "labelSelector": selector});
        let done = run_with(&engine, spec).await;
        assert!(done.result.records.is_empty(), "{what}: {:?}", done.lines());
        let pods = server.calls().count("list", "pods");
        assert_eq!(pods, lists, "{what}");
        let mut expected = Vec::new();
        for name in ["m"]
            .into_iter()
            .map(str::to_owned)
            .chain((0..45).map(|at| format!("n{at:02}")))
        {
            let wanted = names.as_array().unwrap();
            if wanted.is_empty() || wanted.contains(&json!(name)) {
                let of: &[&str] = if name == "m" { &["d"] } else { &["a", "b"] };
                expected.extend(of.iter().map(|pod| format!("pods/{name}/{pod}")));
            }
        }
        let stored: Vec<String> = done.of(&["pods"]).into_iter().collect();
        assert_eq!(stored, expected, "{what}");
        if what == "all" {
            let n = server.store().list("v1", "Pod", None).len() as u64;
            assert!(pods <= n.div_ceil(u64::from(page)) + 1, "{pods} for {n}");
        }
    }
}

#[tokio::test]
async fn running_pods_that_cannot_be_listed_are_told_once() {
    let server = shared_claims();
    let broken = Fault::new(FaultAction::Status {
        code: 400,
        body: json!({"kind": "Status", "status": "Failure", "code": 400, "reason": "BadRequest", "message": "no"}),
    });
    let list = broken.verb("list").resource("pods").query("fieldSelector");
    server.faults().add(list);
    let engine = paged(&server, 50, HELD).await;
    let selector = json!({"matchLabels": {"app": "x"}});
    let done = run_with(&engine, json!({"labelSelector": selector})).await;
    assert_eq!(done.result.warnings(), 1, "{:?}", done.lines());
    assert!(
        done.lines()[0].contains("pods that use claims of the backup could not be looked for"),
        "{:?}",
        done.lines()
    );
    assert_eq!(done.of(&["pods"]).len(), 45);
}
