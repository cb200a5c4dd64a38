//! Actions of users: what they may do, and what happens when they fail.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use velero_core::action::{
    ActionContext, ActionError, ResourceSelector, RestoreInput, RestoreItemAction, RestoreMap,
    RestoreOutcome,
};
use velero_core::api::Restore;
use velero_core::archive::{ArchiveWriter, ArchiveWriterOptions};
use velero_core::{GroupResource, ResourceIdentifier};
use velero_restore::{RestoreResult, RestoreRun};
use velero_testkit::ApiServer;

use crate::common::*;

/// An action on ConfigMaps made of a closure.
struct OnMaps<F>(F);

#[async_trait]
impl<F> RestoreItemAction for OnMaps<F>
where
    F: Fn(RestoreInput) -> Result<RestoreOutcome, ActionError> + Send + Sync,
{
    fn name(&self) -> &str {
        "example.com/on-maps"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["cm"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        (self.0)(input)
    }
}

async fn run(
    server: &ApiServer,
    action: impl RestoreItemAction + 'static,
    names: &[&str],
) -> RestoreResult {
    let items: Vec<_> = names.iter().map(|n| config_map("default", n)).collect();
    let engine = engine(server)
        .await
        .action(action)
        .options(options().action_timeout(Duration::from_millis(200)));
    run_items(&engine, &items).await
}

fn map_id(name: &str) -> ResourceIdentifier {
    ResourceIdentifier::namespaced(GroupResource::core("configmaps"), "default", name)
}

#[tokio::test]
async fn an_action_changes_items_but_not_the_labels_of_a_restore() {
    let server = ApiServer::new();
    let strip = RestoreMap::new(
        "example.com/strip",
        ResourceSelector::resources(["configmaps"]),
        |mut item| {
            item.metadata_mut().remove("labels");
            item.object_mut("data")
                .insert("key".into(), json!("changed"));
            Ok(item)
        },
    );
    assert_clean(&run(&server, strip, &["a"]).await);
    let live = server
        .store()
        .get("v1", "ConfigMap", Some("default"), "a")
        .unwrap();
    assert_eq!(live["data"]["key"], json!("changed"));
    assert_eq!(
        live["metadata"]["labels"],
        json!({"velero.io/backup-name": "b1", "velero.io/restore-name": "r1"})
    );
}

#[tokio::test]
async fn errors_panics_and_late_answers_stay_at_their_item() {
    struct Late;
    #[async_trait]
    impl RestoreItemAction for Late {
        fn name(&self) -> &str {
            "example.com/late"
        }
        fn applies_to(&self) -> ResourceSelector {
            ResourceSelector::resources(["configmaps"])
        }
        async fn execute(
            &self,
            input: RestoreInput,
            _: &ActionContext<'_, Restore>,
        ) -> Result<RestoreOutcome, ActionError> {
            if input.item.name() == "bad" {
                std::future::pending::<()>().await;
            }
            Ok(RestoreOutcome::create(input.item))
        }
    }
    let failing = OnMaps(|input: RestoreInput| match input.item.name() {
        "bad" => Err(ActionError::new("no such domain")),
        _ => Ok(RestoreOutcome::create(input.item)),
    });
    let panicking = OnMaps(|input: RestoreInput| {
        assert_ne!(input.item.name(), "bad");
        Ok(RestoreOutcome::create(input.item))
    });
    let server = ApiServer::new();
    for (result, want) in [
        (
            run(&server, failing, &["bad", "good1"]).await,
            "example.com/on-maps failed: no such domain",
        ),
        (
            run(&server, panicking, &["bad", "good2"]).await,
            "example.com/on-maps failed: it panicked",
        ),
        (
            run(&server, Late, &["bad", "good3"]).await,
            "example.com/late failed: it gave no answer within 0.2s",
        ),
    ] {
        let errors = errors(&result);
        assert!(errors.len() == 1 && errors[0].contains(want), "{errors:?}");
        assert_eq!(entries(&result, "v1/ConfigMap")[0], "default/bad(failed)");
        assert_eq!(result.counts.created, 1);
    }
}

#[tokio::test]
async fn a_skipped_item_is_listed_as_skipped() {
    let server = ApiServer::new();
    let result = run(
        &server,
        OnMaps(|input: RestoreInput| Ok(RestoreOutcome::skip(input.item))),
        &["a"],
    )
    .await;
    assert_clean(&result);
    assert_eq!(entries(&result, "v1/ConfigMap"), ["default/a(skipped)"]);
    assert_eq!(server.calls().count("create", "configmaps"), 0);
}

#[tokio::test]
async fn additional_items_come_once_and_first() {
    let server = ApiServer::new();
    let calls: Arc<AtomicUsize> = Arc::default();
    let asks = OnMaps({
        let calls = Arc::clone(&calls);
        move |input: RestoreInput| {
            calls.fetch_add(1, Ordering::Relaxed);
            let wanted = (input.item.name() != "base").then(|| map_id("base"));
            Ok(RestoreOutcome::create(input.item).with(wanted))
        }
    });
    let result = run(&server, asks, &["a", "b", "c", "base"]).await;
    assert_clean(&result);
    assert_eq!(
        (calls.load(Ordering::Relaxed), result.counts.created),
        (4, 4)
    );
    let created: Vec<String> = server
        .calls()
        .writes()
        .iter()
        .filter_map(|c| c.name.clone())
        .collect();
    assert_eq!(server.calls().count("create", "configmaps"), 4);
    assert!(created.is_empty() || created[0] == "base", "{created:?}");
    let version = |name: &str| -> u64 {
        let live = server
            .store()
            .get("v1", "ConfigMap", Some("default"), name)
            .unwrap();
        live["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert!(
        ["a", "b", "c"]
            .iter()
            .all(|name| version(name) > version("base"))
    );
}

#[tokio::test]
async fn items_that_ask_for_each_other_do_not_hang() {
    let server = ApiServer::new();
    let asks = OnMaps(|input: RestoreInput| {
        let others = ["a", "b", "c"]
            .into_iter()
            .filter(|n| *n != input.item.name())
            .map(map_id)
            .collect::<Vec<_>>();
        Ok(RestoreOutcome::create(input.item).with(others))
    });
    let result = tokio::time::timeout(
        Duration::from_secs(20),
        run(&server, asks, &["a", "b", "c"]),
    )
    .await
    .unwrap();
    assert_clean(&result);
    assert_eq!(result.counts.created, 3);
}

#[tokio::test]
async fn additional_items_that_are_nowhere_are_a_warning() {
    let server = ApiServer::new();
    server
        .store()
        .seed_value(config_map("default", "there"))
        .unwrap();
    let asks = OnMaps(|input: RestoreInput| {
        Ok(RestoreOutcome::create(input.item).with([map_id("there"), map_id("nowhere")]))
    });
    let result = run(&server, asks, &["a", "b"]).await;
    let warnings = warnings(&result);
    assert!(
        warnings.len() == 1
            && warnings[0].contains("name: /nowhere message: /is neither in the archive nor"),
        "{warnings:?}"
    );
    assert_eq!(result.counts.created, 2);
}

#[tokio::test]
async fn additional_items_pass_the_filters_too() {
    for (namespace, spec) in [
        ("default", json!({"excludedResources": ["secrets"]})),
        ("other", json!({"excludedNamespaces": ["other"]})),
    ] {
        let server = ApiServer::new();
        let asks = OnMaps(move |input: RestoreInput| {
            let secret =
                ResourceIdentifier::namespaced(GroupResource::core("secrets"), namespace, "s");
            Ok(RestoreOutcome::create(input.item).with([secret]))
        });
        let items = [
            config_map("default", "a"),
            object("v1", "Secret", namespace, "s"),
        ];
        let engine = engine(&server).await.action(asks);
        let result = engine
            .run(
                &request(spec),
                Cursor::new(archive(&items)),
                RestoreRun::default(),
            )
            .await
            .unwrap();
        assert_clean(&result);
        assert_eq!(result.counts.created, 1);
        assert!(
            server
                .store()
                .get("v1", "Secret", Some(namespace), "s")
                .is_none()
        );
    }
}

#[tokio::test]
async fn an_additional_item_that_is_no_object_does_not_cost_the_one_that_asks() {
    let server = ApiServer::new();
    let asks = OnMaps(|input: RestoreInput| {
        Ok(RestoreOutcome::create(input.item).with([map_id("broken")]))
    });
    let mut writer = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default()).unwrap();
    let good = config_map("default", "good");
    add(&mut writer, &path_of(&good), good.to_string().as_bytes());
    let broken = config_map("default", "broken");
    add(&mut writer, &path_of(&broken), b"{not json");
    let result = engine(&server)
        .await
        .action(asks)
        .run(
            &request(json!({})),
            Cursor::new(writer.finish().unwrap()),
            RestoreRun::default(),
        )
        .await
        .unwrap();
    let errors = errors(&result);
    assert!(
        errors.len() == 1 && errors[0].contains("name: /broken error: /cannot be decoded"),
        "{errors:?}"
    );
    assert_eq!(entries(&result, "v1/ConfigMap"), ["default/good(created)"]);
}

/// Waits for additional items: ready after a number of questions.
struct Waits {
    ready_after: usize,
    limit: Duration,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl RestoreItemAction for Waits {
    fn name(&self) -> &str {
        "example.com/waits"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["configmaps"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let base = input.item.name() == "base";
        let mut outcome = RestoreOutcome::create(input.item);
        if !base {
            outcome.additional_items = vec![map_id("base"), map_id("nowhere")];
            outcome.wait_for_additional_items = true;
            outcome.additional_items_timeout = Some(self.limit);
        }
        Ok(outcome)
    }

    async fn additional_items_ready(
        &self,
        items: &[ResourceIdentifier],
        _: &ActionContext<'_, Restore>,
    ) -> Result<bool, ActionError> {
        assert_eq!(items, [map_id("base")], "only those that exist");
        Ok(self.asked.fetch_add(1, Ordering::Relaxed) >= self.ready_after)
    }
}

#[tokio::test]
async fn waits_for_additional_items_end() {
    for (ready_after, limit, late) in [
        (2, Duration::from_secs(30), false),
        (usize::MAX, Duration::from_millis(150), true),
    ] {
        let server = ApiServer::new();
        let asked: Arc<AtomicUsize> = Arc::default();
        let result = run(
            &server,
            Waits {
                ready_after,
                limit,
                asked: Arc::clone(&asked),
            },
            &["a", "base"],
        )
        .await;
        let errors = errors(&result);
        assert_eq!(errors.len(), usize::from(late), "{errors:?}");
        assert_eq!(result.counts.created, 2, "the item is created all the same");
        let asked = asked.load(Ordering::Relaxed);
        assert!(if late { asked > 0 } else { asked == 3 }, "{asked}");
    }
}

#[tokio::test]
async fn selectors_look_at_the_labels_as_they_stand() {
    let server = ApiServer::new();
    let selector = ResourceSelector::resources(["configmaps"]).labels("app=web".parse().unwrap());
    let mark = RestoreMap::new("example.com/mark", selector, |mut item| {
        item.set_annotation("marked", "yes");
        Ok(item)
    });
    let mut web = config_map("default", "web");
    web["metadata"]["labels"] = json!({"app": "web"});
    let engine = engine(&server).await.action(mark);
    let items = archive(&[web, config_map("default", "other")]);
    let result = engine
        .run(
            &request(json!({})),
            Cursor::new(items),
            RestoreRun::default(),
        )
        .await
        .unwrap();
    assert_clean(&result);
    let marked = |name: &str| {
        server
            .store()
            .get("v1", "ConfigMap", Some("default"), name)
            .unwrap()["metadata"]["annotations"]["marked"]
            .is_string()
    };
    assert!(marked("web") && !marked("other"));
}
