use std::collections::BTreeSet;
use std::time::Duration;

use velero_cluster::velero_core::Selector;
use velero_cluster::{ErrorKind, ListOptions, ListScope, Page, Pages};
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::{config_map, connect, connect_with, core, seed, server_with, short};

async fn all(pages: &mut Pages) -> Vec<Page> {
    let mut out = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        out.push(page);
    }
    out
}

fn names(pages: &[Page]) -> Vec<String> {
    pages
        .iter()
        .flat_map(|p| &p.items)
        .map(|i| i.head().key().path())
        .collect()
}

async fn maps(server: &ApiServer, scope: ListScope, options: ListOptions) -> Pages {
    let cluster = connect(server).await;
    cluster.pages(&core(&cluster, "configmaps"), scope, options)
}

#[tokio::test]
async fn pages_hold_every_item_once_as_complete_objects() {
    let server = server_with(&["a", "b"], 25);
    let mut pages = maps(
        &server,
        ListScope::all(),
        ListOptions::default().page_size(10),
    )
    .await;
    let pages = all(&mut pages).await;
    let names = names(&pages);
    assert_eq!(names.iter().filter(|n| n.contains("/m0")).count(), 50);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert_eq!(
        server.calls().count("list", "configmaps"),
        names.len().div_ceil(10) as u64
    );
    let item = &pages[0].items[0];
    assert!(item.json().starts_with(b"{"));
    let tree = item.tree().unwrap();
    assert_eq!((tree.api_version(), tree.kind()), ("v1", "ConfigMap"));
    assert!(
        pages
            .iter()
            .all(|p| p.bad.is_empty() && !p.restarted && !p.inconsistent)
    );
}

#[tokio::test]
async fn namespaces_and_selectors_go_to_the_server() {
    let server = server_with(&["a", "b"], 10);
    for (selector, expected) in [
        ("parity=even", 5),
        ("parity in (even,odd)", 10),
        ("parity notin (even,odd),!x", 1),
        ("x", 0),
    ] {
        let scope = ListScope::namespace("a").labels(selector.parse::<Selector>().unwrap());
        let mut pages = maps(&server, scope, ListOptions::default()).await;
        assert_eq!(names(&all(&mut pages).await).len(), expected, "{selector}");
    }
}

/// The token behind the first ten maps of namespace `a`, as another client gets it.
async fn token_after_ten(server: &ApiServer) -> String {
    let request = http::Request::get("/api/v1/namespaces/a/configmaps?limit=10")
        .body(Vec::new())
        .unwrap();
    let list: serde_json::Value = server.client().request(request).await.unwrap();
    list["metadata"]["continue"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_expired_token_loses_nothing() {
    for offered in [false, true] {
        let server = server_with(&["a"], 30);
        let mut pages = maps(
            &server,
            ListScope::namespace("a"),
            ListOptions::default().page_size(10),
        )
        .await;
        let first = pages.next().await.unwrap().unwrap();
        assert_eq!(first.items.len(), 10);
        let token = if offered {
            token_after_ten(&server).await
        } else {
            String::new()
        };
        let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
            "message": "too old", "metadata": {"continue": token}});
        server.faults().add(
            Fault::new(FaultAction::Status { code: 410, body })
                .verb("list")
                .query("continue=")
                .times(1),
        );
        let rest = all(&mut pages).await;
        assert!(rest[0].restarted != offered && rest.iter().all(|p| p.inconsistent));
        assert_eq!(names(&rest).len(), if offered { 21 } else { 31 });
        let seen: BTreeSet<String> = names(&[first]).into_iter().chain(names(&rest)).collect();
        assert_eq!(seen.len(), 31, "{seen:?}");
    }
}

#[tokio::test]
async fn answers_that_are_too_large_are_asked_for_in_smaller_pages() {
    let server = ApiServer::new();
    for at in 0..40 {
        let mut map = config_map("default", &format!("big{at:02}"), at);
        map["data"]["text"] = "x".repeat(10_000).into();
        seed(&server, map);
    }
    let options = ListOptions::default()
        .page_size(32)
        .page_bytes(50_000, 100_000);
    let mut pages = maps(&server, ListScope::namespace("default"), options).await;
    let mut sizes = Vec::new();
    let mut count = 0;
    while let Some(page) = pages.next().await.unwrap() {
        assert!(page.bytes <= 100_000, "{}", page.bytes);
        sizes.push(pages.page_size());
        count += page.items.len();
    }
    assert_eq!(count, 41);
    assert!(sizes.iter().all(|s| *s <= 16), "{sizes:?}");
}

#[tokio::test]
async fn large_objects_come_a_few_at_a_time() {
    let server = ApiServer::new();
    for at in 0..60 {
        let mut map = config_map("default", &format!("big{at:02}"), at);
        let size = if at < 30 { 40_000 } else { 500 };
        map["data"]["text"] = "x".repeat(size).into();
        seed(&server, map);
    }
    let mut options = ListOptions::default()
        .page_size(500)
        .page_bytes(400_000, 400_000);
    options.large_object_page = 100_000;
    let mut pages = maps(&server, ListScope::namespace("default"), options).await;
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        sizes.push((page.items.len(), pages.page_size()));
    }
    // A few of them come before the answer is given up, as it would be far too large: three quarters of that are
    // asked for then, and two once their size is known; pages grow when the objects get smaller.
    assert!(
        (3..=5).contains(&sizes[0].0) && sizes[0].1 == 2,
        "{sizes:?}"
    );
    assert!(
        sizes.iter().filter(|(items, _)| *items == 2).count() >= 10,
        "{sizes:?}"
    );
    assert!(sizes.iter().any(|(_, next)| *next >= 16), "{sizes:?}");
    assert_eq!(sizes.iter().map(|(items, _)| items).sum::<usize>(), 61);
}

#[tokio::test]
async fn metadata_alone() {
    let server = server_with(&["a", "b"], 10);
    let mut pages = maps(
        &server,
        ListScope::all(),
        ListOptions::default().page_size(10).metadata_only(),
    )
    .await;
    let pages = all(&mut pages).await;
    assert!(names(&pages).len() > 20 && pages.len() > 2);
    for item in pages.iter().flat_map(|p| &p.items) {
        let tree = item.tree().unwrap();
        assert_eq!(tree.kind(), "PartialObjectMetadata");
        assert!(tree.at("/data").is_none() && !item.head().uid.is_empty());
    }
    assert!(
        pages
            .iter()
            .flat_map(|p| &p.items)
            .any(|i| i.head().labels.contains_key("parity"))
    );
}

#[tokio::test]
async fn lists_survive_what_passes() {
    for action in [
        FaultAction::InternalError,
        FaultAction::Unavailable,
        FaultAction::Timeout,
        FaultAction::ConnectionReset,
        FaultAction::Truncate(300),
        FaultAction::TooManyRequests {
            retry_after_seconds: 0,
        },
    ] {
        let server = server_with(&["a"], 25);
        let mut pages = maps(
            &server,
            ListScope::namespace("a"),
            ListOptions::default().page_size(10),
        )
        .await;
        server
            .faults()
            .add(Fault::new(action.clone()).verb("list").skip(1).times(2));
        assert_eq!(names(&all(&mut pages).await).len(), 26, "{action:?}");
        assert_eq!(server.faults().acted(), [2], "{action:?}");
    }
}

#[tokio::test]
async fn what_does_not_pass_is_an_error_of_its_kind() {
    let server = server_with(&["a"], 3);
    for (action, kind) in [
        (FaultAction::Forbidden, ErrorKind::Forbidden),
        (FaultAction::NotFound, ErrorKind::Unserved),
        (FaultAction::Unauthorized, ErrorKind::Unauthorized),
        (FaultAction::Unavailable, ErrorKind::Unavailable),
        (FaultAction::ConnectionReset, ErrorKind::Unreachable),
        (
            FaultAction::Slow(Duration::from_secs(5)),
            ErrorKind::Timeout,
        ),
    ] {
        let cluster = connect_with(&server, short()).await;
        server.faults().add(Fault::new(action.clone()).verb("list"));
        let error = cluster
            .pages(
                &core(&cluster, "configmaps"),
                ListScope::all(),
                ListOptions::default(),
            )
            .next()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{action:?}: {error}");
        assert!(
            error.to_string().starts_with("cannot list configmaps: "),
            "{error}"
        );
        server.faults().clear();
    }
}

#[tokio::test]
async fn trees_of_a_small_kind() {
    let server = server_with(&["a"], 12);
    let cluster = connect(&server).await;
    let trees = cluster
        .list_trees(
            &core(&cluster, "configmaps"),
            Some("a"),
            &"parity=odd".parse().unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(trees.len(), 6);
}

#[tokio::test]
async fn late_answers_are_asked_for_in_smaller_pages() {
    let server = server_with(&["a"], 39);
    let cluster = connect_with(&server, short()).await;
    let mut pages = cluster.pages(
        &core(&cluster, "configmaps"),
        ListScope::namespace("a"),
        ListOptions::default().page_size(8),
    );
    server.faults().add(
        Fault::new(FaultAction::Slow(Duration::from_secs(5)))
            .verb("list")
            .query("limit=8"),
    );
    assert_eq!(names(&all(&mut pages).await).len(), 40);
    // Late twice: at the beginning, and when the size had grown again after eight good pages.
    assert_eq!((server.faults().acted(), pages.page_size()), (vec![2], 4));
}

/// The sizes of the pages that were asked for, in order.
fn asked(server: &ApiServer) -> Vec<u32> {
    let limit = |query: &str| {
        let part = query
            .split('&')
            .find_map(|part| part.strip_prefix("limit="));
        part.map_or(0, |size| size.parse().unwrap())
    };
    let log = server.calls().log();
    log.iter()
        .filter(|call| call.verb == "list")
        .map(|call| limit(&call.query))
        .collect()
}

#[tokio::test]
async fn pages_of_a_long_list_grow() {
    for (long, expected) in [
        (true, [vec![500], vec![1000; 12]].concat()),
        (false, vec![500; 25]),
    ] {
        let server = server_with(&["a"], 12_300);
        let cluster = connect(&server).await;
        let options = match long {
            true => ListOptions::default(),
            false => ListOptions::default().page_size(500),
        };
        let maps = core(&cluster, "configmaps");
        let mut pages = cluster.pages(&maps, ListScope::namespace("a"), options);
        assert_eq!(names(&all(&mut pages).await).len(), 12_301);
        assert_eq!(asked(&server), expected);
    }
}

#[tokio::test]
async fn page_sizes_begin_at_the_option_halve_and_grow_back() {
    for (large, late, expected) in [
        // Nothing in the way.
        (0, false, vec![16; 6]),
        // The first page has over 100 kB and is kept; the second one is no reason to grow, the small ones after it are.
        (26, false, vec![16, 8, 8, 16, 16, 16, 16]),
        // One answer comes too late: the same page is asked for again with half, and for some time to come.
        (0, true, vec![16, 8, 8, 8, 8, 8, 8, 8, 8, 8, 16]),
    ] {
        let server = server_with(&["a"], 0);
        for at in 0..87 {
            let mut map = config_map("a", &format!("big{at:03}"), at);
            let size = if at < large { 10_000 } else { 100 };
            map["data"]["text"] = "x".repeat(size).into();
            seed(&server, map);
        }
        let cluster = connect_with(&server, short()).await;
        let options = ListOptions::default()
            .page_size(16)
            .page_bytes(100_000, 1_000_000);
        if late {
            let slow = FaultAction::Slow(Duration::from_secs(5));
            server.faults().add(Fault::new(slow).verb("list").times(1));
        }
        let maps = core(&cluster, "configmaps");
        let mut pages = cluster.pages(&maps, ListScope::namespace("a"), options);
        // One is what every namespace gets.
        assert_eq!(names(&all(&mut pages).await).len(), 88);
        assert_eq!(asked(&server), expected, "{large} {late}");
    }
}
