use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use velero_backup::{BackupEngine, BackupOptions};
use velero_cluster::ListOptions;
use velero_core::ItemTree;
use velero_core::action::{ActionError, ResourceSelector};
use velero_testkit::ExecResult;

use crate::acting::{Relate, id, relate, relating};
use crate::bench::{Bench, both, hooked};
use crate::support::*;

fn short(bench: &Bench) -> Vec<String> {
    bench.ran().iter().map(|l| l.replace(" c ", " ")).collect()
}

#[tokio::test]
async fn pods_of_one_volume_group_are_one_block() {
    let group = |name: &str| json!({"velero.io/volume-group": name});
    for (spec, labels, order) in [
        (
            shop(),
            group("g"),
            ["a freeze", "b freeze", "a thaw", "b thaw"],
        ),
        (
            shop(),
            json!({"other": "g"}),
            ["a freeze", "a thaw", "b freeze", "b thaw"],
        ),
        (
            shop(),
            group(""),
            ["a freeze", "a thaw", "b freeze", "b thaw"],
        ),
        (
            json!({"includedNamespaces": ["shop"], "volumeGroupSnapshotLabelKey": "other"}),
            json!({"other": "g"}),
            ["a freeze", "b freeze", "a thaw", "b thaw"],
        ),
    ] {
        let bench = Bench::new(|_| ExecResult::default());
        bench.pod("a", &["x"], both());
        bench.pod("b", &["y"], both());
        for name in ["x", "y", "z"] {
            seed(
                &bench.server,
                claim("shop", name, &format!("pv-{name}"), labels.clone()),
            );
        }
        let done = run_with(&engine(&bench.server).await, spec.clone()).await;
        assert_eq!(short(&bench), order, "{spec} {labels}");
        assert_eq!(done.of(&["persistentvolumeclaims"]).len(), 3);
        assert_eq!(done.result.total, done.result.backed_up);
    }
}

#[tokio::test]
async fn actions_unite_pods() {
    let bench = Bench::new(|_| ExecResult::default());
    for name in ["a", "b", "c"] {
        bench.pod(name, &[], both());
    }
    let engine = engine(&bench.server).await.item_block_action(relate(
        "pods",
        "a",
        vec![id("pods", "shop", "c"), id("configmaps", "shop", "m")],
    ));
    seed(&bench.server, map("shop", "m", json!({})));
    let done = run_with(&engine, shop()).await;
    assert_eq!(
        short(&bench),
        [
            "a freeze", "c freeze", "a thaw", "c thaw", "b freeze", "b thaw"
        ]
    );
    let pods = ["a", "c"].map(|p| done.at(&format!("pods/namespaces/shop/{p}")));
    let between = done.at("configmaps/namespaces/shop/m");
    assert!(pods[0] < between && pods[1] < between, "{:?}", done.order);
    assert!(between < done.at("pods/namespaces/shop/b"));
    assert!(done.result.records.is_empty(), "{:?}", done.lines());
}

#[tokio::test]
async fn relations_are_followed_through_other_kinds() {
    let bench = Bench::new(|_| ExecResult::default());
    bench.pod("a", &["x"], both());
    bench.pod("b", &["y"], both());
    for name in ["x", "y"] {
        let pv = format!("pv-{name}");
        seed(&bench.server, claim("shop", name, &pv, json!({})));
        seed(&bench.server, volume(&pv, "shop", name, json!({})));
    }
    let engine = engine(&bench.server)
        .await
        .item_block_action(relate("pvc", "x", vec![id("configmaps", "shop", "m")]))
        .item_block_action(relate("cm", "m", vec![id("pods", "shop", "b")]));
    seed(&bench.server, map("shop", "m", json!({})));
    let done = run_with(&engine, shop()).await;
    assert_eq!(short(&bench), ["a freeze", "b freeze", "a thaw", "b thaw"]);
    assert!(done.result.records.is_empty(), "{:?}", done.lines());
}

#[tokio::test]
async fn filters_hold_for_related_items() {
    let cluster = id("persistentvolumes", "", "pv-free");
    let other = id("configmaps", "bank", "plain");
    for (spec, related, path, stored) in [
        (
            shop(),
            cluster.clone(),
            "persistentvolumes/cluster/pv-free",
            true,
        ),
        (
            json!({"includedNamespaces": ["shop"], "includeClusterResources": false}),
            cluster.clone(),
            "persistentvolumes/cluster/pv-free",
            false,
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedResources": ["cm"]}),
            cluster.clone(),
            "persistentvolumes/cluster/pv-free",
            false,
        ),
        (
            json!({"includedNamespaces": ["shop"], "excludedResources": ["pv"]}),
            cluster,
            "persistentvolumes/cluster/pv-free",
            false,
        ),
        (
            shop(),
            other.clone(),
            "configmaps/namespaces/bank/plain",
            false,
        ),
        (
            json!({"includedNamespaces": ["shop", "bank"], "labelSelector": {"matchLabels": {"app": "x"}}}),
            other,
            "configmaps/namespaces/bank/plain",
            true,
        ),
        (
            json!({"includedNamespaces": ["shop"], "excludedResources": ["sa"]}),
            id("serviceaccounts", "shop", "runner"),
            "serviceaccounts/namespaces/shop/runner",
            false,
        ),
        (
            shop(),
            id("configmaps", "shop", "hidden"),
            "configmaps/namespaces/shop/hidden",
            false,
        ),
        (
            shop(),
            id("configmaps", "shop", "gone"),
            "configmaps/namespaces/shop/gone",
            false,
        ),
    ] {
        let server = world();
        seed(
            &server,
            map(
                "shop",
                "hidden",
                json!({"velero.io/exclude-from-backup": "true"}),
            ),
        );
        let missing = related.name == "gone";
        let engine = engine(&server)
            .await
            .item_block_action(relate("cm", "chosen", vec![related]));
        let done = run_with(&engine, spec.clone()).await;
        assert_eq!(done.has(path), stored, "{spec} {path}");
        assert!(done.has("configmaps/namespaces/shop/chosen"), "{spec}");
        assert_eq!(
            (done.result.errors(), done.result.warnings()),
            (0, usize::from(missing)),
            "{:?}",
            done.lines()
        );
        assert_eq!(done.result.total, done.result.backed_up);
    }
}

#[tokio::test]
async fn selectors_of_block_actions() {
    for (selector, expected) in [
        (ResourceSelector::resources(["po"]), vec!["web"]),
        (ResourceSelector::resources(["unicorns"]), vec![]),
        (
            ResourceSelector::resources(["cm"]).labels("app=x".parse().unwrap()),
            vec!["chosen"],
        ),
        (
            ResourceSelector {
                included_namespaces: vec!["shop".into()],
                ..ResourceSelector::resources(["ns", "pods"])
            },
            vec!["web"],
        ),
        (
            ResourceSelector {
                excluded_namespaces: vec!["bank".into()],
                ..ResourceSelector::resources(["pods"])
            },
            vec!["web"],
        ),
    ] {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let action = Relate {
            selector: selector.clone(),
            relate: move |item: ItemTree| {
                log.lock().unwrap().push(item.name().to_owned());
                async { Ok(Vec::new()) }
            },
        };
        let engine = engine(&world()).await.item_block_action(action);
        run_with(&engine, shop()).await;
        assert_eq!(*seen.lock().unwrap(), expected, "{selector:?}");
    }
}

#[tokio::test]
async fn block_actions_that_fail_lose_nothing() {
    let act = relating("cm", |item: ItemTree| async move {
        match item.name() {
            "plain" => Err(ActionError::new("no luck")),
            "chosen" => panic!("boom"),
            _ => {
                std::future::pending::<()>().await;
                Ok(Vec::new())
            }
        }
    });
    let options = BackupOptions::default().action_timeout(Duration::from_millis(300));
    let engine = BackupEngine::new(connect(&world()).await)
        .options(options)
        .item_block_action(act);
    let done = run_with(&engine, shop()).await;
    let mut lines = done.lines();
    lines.sort();
    let end = "the item is backed up without what it relates";
    assert_eq!(
        lines,
        [
            format!(
                "resource: /configmaps name: /chosen error: /item-block action example.com/relate: it panicked: boom; {end}"
            ),
            format!(
                "resource: /configmaps name: /kube-root-ca.crt error: /item-block action example.com/relate: no answer within 0.3 s; {end}"
            ),
            format!(
                "resource: /configmaps name: /plain error: /item-block action example.com/relate: no luck; {end}"
            ),
        ]
    );
    assert_eq!(done.of(&["configmaps"]).len(), 3);
}

#[tokio::test]
async fn circles_of_relations_end() {
    let bench = Bench::new(|_| ExecResult::default());
    for name in ["a", "b"] {
        bench.pod(name, &[], both());
    }
    let ring = relating("pods", |item: ItemTree| async move {
        let other = if item.name() == "a" { "b" } else { "a" };
        Ok(vec![
            id("pods", "shop", other),
            id("pods", "shop", item.name()),
        ])
    });
    let engine = engine(&bench.server).await.item_block_action(ring);
    let done = run_with(&engine, shop()).await;
    assert_eq!(short(&bench), ["a freeze", "b freeze", "a thaw", "b thaw"]);
    assert!(done.result.records.is_empty() && done.of(&["pods"]).len() == 2);
}

#[tokio::test]
async fn blocks_reach_beyond_label_selectors() {
    let names = |names: &[&str]| {
        let one = json!({"key": "name", "operator": "In", "values": names});
        json!({"matchExpressions": [one]})
    };
    let with = |selector: Value, more: Value| {
        let mut spec = json!({"includedNamespaces": ["shop"], "labelSelector": selector});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec
    };
    let all = [
        "a freeze", "b freeze", "c freeze", "a thaw", "b thaw", "c thaw",
    ];
    // `a` and `b` share a claim, `b` and `c` another; `p` is pending, `d` is alone; the claims of `d` and `e` are a group.
    for (spec, ran, pods) in [
        (
            with(names(&["a"]), json!({})),
            all.to_vec(),
            vec!["a", "b", "c"],
        ),
        (
            with(names(&["x"]), json!({})),
            all.to_vec(),
            vec!["a", "b", "c"],
        ),
        (
            with(names(&["p"]), json!({})),
            vec![
                "p freeze", "a freeze", "b freeze", "c freeze", "p thaw", "a thaw", "b thaw",
                "c thaw",
            ],
            vec!["a", "b", "c", "p"],
        ),
        (
            with(names(&["x"]), json!({"includedResources": ["pvc"]})),
            vec![],
            vec![],
        ),
        (
            with(names(&["d"]), json!({})),
            vec!["d freeze", "e freeze", "d thaw", "e thaw"],
            vec!["d", "e"],
        ),
        (
            with(names(&["e"]), json!({})),
            vec!["e freeze", "d freeze", "e thaw", "d thaw"],
            vec!["d", "e"],
        ),
        (with(names(&["nothing"]), json!({})), vec![], vec![]),
    ] {
        let bench = Bench::new(|_| ExecResult::default());
        for (name, claims) in [
            ("a", &["x"][..]),
            ("b", &["x", "y"]),
            ("c", &["y"]),
            ("d", &["z"]),
            ("e", &["w"]),
            ("p", &["x"]),
        ] {
            let mut pod = hooked(name, claims, both());
            if name == "p" {
                pod["status"]["phase"] = "Pending".into();
            }
            seed(&bench.server, pod);
        }
        for name in ["x", "y", "z", "w"] {
            let group = if name > "y" || name == "w" {
                json!({"name": name, "velero.io/volume-group": "g"})
            } else {
                json!({"name": name})
            };
            let pv = format!("pv-{name}");
            seed(&bench.server, claim("shop", name, &pv, group));
            seed(&bench.server, volume(&pv, "shop", name, json!({})));
        }
        let engine = engine(&bench.server).await;
        bench.server.calls().reset();
        let done = run_with(&engine, spec.clone()).await;
        assert_eq!(short(&bench), ran, "{spec}");
        let expected = pods.iter().map(|p| format!("pods/shop/{p}")).collect();
        assert_eq!(done.of(&["pods"]), expected, "{spec}");
        // A backup that selects nothing says so.
        let told = usize::from(spec.to_string().contains("nothing"));
        assert_eq!(done.result.records.len(), told, "{:?}", done.lines());
        assert_eq!(done.result.total, done.result.backed_up);
        let lists = bench.server.calls().count("list", "pods");
        assert!(lists <= 3, "{spec}: {lists}");
        let grouped =
            spec.to_string().contains(r#"["d"]"#) || spec.to_string().contains(r#"["e"]"#);
        let claims = done.of(&["persistentvolumeclaims"]);
        assert_eq!(
            claims.contains("persistentvolumeclaims/shop/w")
                && claims.contains("persistentvolumeclaims/shop/z"),
            grouped,
            "{spec} {claims:?}"
        );
    }
}

/// `count` pods of `shop`, each with a claim and a volume, and every tenth with hooks.
fn many(bench: &Bench, count: usize, group: bool) {
    for at in 0..count {
        let (pod, claim_name, pv) = (
            format!("p{at:04}"),
            format!("c{at:04}"),
            format!("pv-{at:04}"),
        );
        let labels = if group {
            json!({"velero.io/volume-group": format!("g{}", at / 2)})
        } else {
            json!({})
        };
        let hooks = if at % 10 == 0 { both() } else { json!({}) };
        bench.pod(&pod, &[&claim_name], hooks);
        seed(&bench.server, claim("shop", &claim_name, &pv, labels));
        seed(&bench.server, volume(&pv, "shop", &claim_name, json!({})));
    }
}

#[tokio::test]
async fn blocks_cost_no_calls() {
    // Volumes are collected with the whole cluster only; for some namespaces they are read by name while they are few.
    for (spec, gets, more_lists) in [(json!({}), 0, 0), (shop(), 16, 1)] {
        let mut lists = Vec::new();
        for count in [0, 80] {
            let bench = Bench::new(|_| ExecResult::default());
            many(&bench, count, true);
            let engine = engine(&bench.server).await.item_block_action(relate(
                "pods",
                "p0003",
                vec![id("pods", "shop", "p0040")],
            ));
            let request = engine.request(&backup(spec.clone())).await.unwrap();
            bench.server.calls().reset();
            let result = engine.run(&request, Kept::default(), run()).await.unwrap();
            assert!(result.records.is_empty(), "{:?}", result.records);
            let hooks = bench.ran().len() as u64;
            assert_eq!(hooks, count as u64 / 10 * 2);
            let calls = bench.server.calls();
            let reads = if count > 0 { gets } else { 0 };
            let (all, listed) = (calls.total(), calls.count_verb("list"));
            assert_eq!(all - listed - hooks, reads, "{:?}", calls.counts());
            lists.push(listed);
        }
        assert_eq!(lists[0] + more_lists, lists[1], "{spec}");
    }
}

#[tokio::test]
async fn what_labels_do_not_choose_is_not_read_one_by_one() {
    let bench = Bench::new(|_| ExecResult::default());
    many(&bench, 100, false);
    for at in 0..100 {
        let name = format!("p{at:04}");
        bench
            .server
            .store()
            .remove("v1", "Pod", Some("shop"), &name);
        let mut pod = hooked(&name, &[&format!("c{at:04}")], json!({}));
        pod["metadata"]["labels"]["app"] = "x".into();
        seed(&bench.server, pod);
    }
    let engine = engine(&bench.server).await;
    bench.server.calls().reset();
    let selector = json!({"matchLabels": {"app": "x"}});
    for more in [
        json!({"labelSelector": selector}),
        json!({"orLabelSelectors": [selector]}),
    ] {
        bench.server.calls().reset();
        let done = run_with(&engine, more).await;
        assert_eq!(
            done.of(&["pods", "persistentvolumeclaims", "persistentvolumes"])
                .len(),
            300
        );
        let calls = bench.server.calls();
        for resource in ["persistentvolumeclaims", "persistentvolumes"] {
            let found = (calls.count("get", resource), calls.count("list", resource));
            assert!(found.0 <= 16 && found.1 <= 3, "{resource} {found:?}");
        }
        assert!(calls.count("list", "pods") <= 2);
    }
}

#[tokio::test]
async fn what_is_held_makes_room_once_it_is_stored() {
    let bench = Bench::new(|_| ExecResult::default());
    many(&bench, 300, false);
    // Room for about a tenth of the claims and volumes.
    let options = BackupOptions::default()
        .held_bytes(30 << 10)
        .list(ListOptions::default().page_size(4));
    let engine = BackupEngine::new(connect(&bench.server).await).options(options);
    let done = run_with(&engine, json!({})).await;
    assert_eq!(
        done.of(&["pods", "persistentvolumeclaims", "persistentvolumes"])
            .len(),
        900
    );
    let calls = bench.server.calls();
    let gets = (
        calls.count("get", "persistentvolumeclaims"),
        calls.count("get", "persistentvolumes"),
    );
    assert_eq!(gets, (0, 0), "{:?}", done.lines());
}

#[tokio::test]
async fn too_many_pods_to_hold_are_told_when_their_hooks_part() {
    let bench = Bench::new(|_| ExecResult::default());
    for name in ["a", "b", "c"] {
        bench.pod(name, &["x"], if name == "c" { both() } else { json!({}) });
    }
    seed(&bench.server, claim("shop", "x", "pv-x", json!({})));
    seed(&bench.server, volume("pv-x", "shop", "x", json!({})));
    let engine = BackupEngine::new(connect(&bench.server).await)
        .options(BackupOptions::default().held_bytes(1));
    let done = run_with(&engine, shop()).await;
    assert_eq!(done.of(&["pods"]).len(), 3);
    assert_eq!(
        (done.result.errors(), done.result.warnings()),
        (0, 1),
        "{:?}",
        done.lines()
    );
    assert!(done.lines()[0].starts_with("resource: /pods name: /c message: /it shares claim \"x\" with pods that were backed up before"));
}
