use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use velero_backup::{BackupEngine, BackupOptions, ErrorKind};
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOutcome, ItemBlockAction, ResourceSelector,
};
use velero_core::api::Backup;
use velero_core::artifact::BackupItemOperation;
use velero_core::{ItemTree, ResourceIdentifier};

use crate::acting::{Act, id, on};
use crate::support::*;

async fn with<F, R>(act: Act<F>) -> BackupEngine
where
    F: Fn(ItemTree) -> R + Send + Sync + 'static,
    R: Future<Output = Result<BackupOutcome, ActionError>> + Send + 'static,
{
    let options = BackupOptions::default().action_timeout(Duration::from_millis(300));
    BackupEngine::new(connect(&world()).await)
        .options(options)
        .action(act)
}

#[tokio::test]
async fn changes_are_stored_and_other_items_stay_byte_for_byte() {
    let done = run_with(
        &with(on("cm", |mut item: ItemTree| async move {
            if item.name() == "plain" {
                item.set_annotation("seen", "yes");
                return Ok(BackupOutcome::changed(item));
            }
            Ok(BackupOutcome::unchanged())
        }))
        .await,
        shop(),
    )
    .await;
    assert_eq!(
        done.items["configmaps/namespaces/shop/plain"]["metadata"]["annotations"]["seen"],
        "yes"
    );
    assert!(
        done.items["configmaps/namespaces/shop/chosen"]["metadata"]
            .get("annotations")
            .is_none()
    );
}

#[tokio::test]
async fn an_action_can_rename_and_move() {
    let done = run_with(
        &with(on("cm", |mut item: ItemTree| async move {
            let name = format!("{}-x", item.name());
            item.metadata_mut().insert("name".into(), name.into());
            item.metadata_mut()
                .insert("namespace".into(), "elsewhere".into());
            Ok(BackupOutcome::changed(item))
        }))
        .await,
        shop(),
    )
    .await;
    assert_eq!(
        done.items["configmaps/namespaces/elsewhere/plain-x"]["metadata"]["name"],
        "plain-x"
    );
    assert!(!done.has("configmaps/namespaces/shop/plain"));
}

#[tokio::test]
async fn errors_panics_and_late_answers_are_records_and_the_item_is_stored() {
    let done = run_with(
        &with(on("cm", |item: ItemTree| async move {
            match item.name() {
                "plain" => Err(ActionError::new("no luck")),
                "chosen" => panic!("boom"),
                _ => {
                    std::future::pending::<()>().await;
                    Ok(BackupOutcome::skip())
                }
            }
        }))
        .await,
        shop(),
    )
    .await;
    let mut lines = done.lines();
    lines.sort();
    assert_eq!(
        lines,
        [
            "resource: /configmaps name: /chosen error: /action example.com/act: it panicked: boom; the item is stored without it",
            "resource: /configmaps name: /kube-root-ca.crt error: /action example.com/act: no answer within 0.3 s; the item is stored without it",
            "resource: /configmaps name: /plain error: /action example.com/act: no luck; the item is stored without it",
        ]
    );
    assert_eq!(done.of(&["configmaps"]).len(), 3);
    assert_eq!(done.result.errors(), 3);
}

#[tokio::test]
async fn a_failing_action_neither_undoes_nor_stops_the_others() {
    let label = |key: &'static str| {
        on("cm", move |mut item: ItemTree| async move {
            item.set_label(key, "1");
            Ok(BackupOutcome::changed(item))
        })
    };
    let engine = with(label("first"))
        .await
        .action(on("cm", |_| async { Err(ActionError::new("no")) }))
        .action(label("last"));
    let done = run_with(&engine, shop()).await;
    assert_eq!(
        done.items["configmaps/namespaces/shop/plain"]["metadata"]["labels"],
        json!({"first": "1", "last": "1"})
    );
}

#[tokio::test]
async fn skipped_items_are_left_out_without_a_record() {
    for by_annotation in [false, true] {
        let done = run_with(
            &with(on("cm", move |mut item: ItemTree| async move {
                match (item.name() == "plain", by_annotation) {
                    (false, _) => Ok(BackupOutcome::unchanged()),
                    (true, false) => Ok(BackupOutcome::skip()),
                    (true, true) => {
                        item.set_annotation("velero.io/skip-from-backup", "true");
                        Ok(BackupOutcome::changed(item))
                    }
                }
            }))
            .await,
            shop(),
        )
        .await;
        assert!(
            !done.has("configmaps/namespaces/shop/plain")
                && done.has("configmaps/namespaces/shop/chosen")
        );
        assert!(done.result.records.is_empty() && done.result.total == done.result.backed_up);
    }
}

#[tokio::test]
async fn must_include_passes_the_filters_but_not_deletion() {
    for must in [false, true] {
        let done = run_with(
            &with(on("sa", move |mut item: ItemTree| async move {
                if must {
                    item.set_annotation("backup.velero.io/must-include-additional-items", "true");
                }
                Ok(BackupOutcome::changed(item).with([id("configmaps", "bank", "plain")]))
            }))
            .await,
            shop(),
        )
        .await;
        assert_eq!(done.has("configmaps/namespaces/bank/plain"), must);
        assert!(
            done.items["serviceaccounts/namespaces/shop/runner"]["metadata"]
                .get("annotations")
                .is_none()
        );
    }
}

#[tokio::test]
async fn circles_and_long_chains_end() {
    let ring = with(on("cm", |item: ItemTree| async move {
        let other = if item.name() == "plain" {
            "chosen"
        } else {
            "plain"
        };
        Ok(BackupOutcome::unchanged().with([id("configmaps", "shop", other)]))
    }))
    .await;
    let done = run_with(&ring, shop()).await;
    assert!(
        done.result.records.is_empty() && done.of(&["configmaps"]).len() == 3,
        "{:?}",
        done.lines()
    );
}

#[tokio::test]
async fn selectors_of_actions() {
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
        let act = move |item: ItemTree| {
            log.lock().unwrap().push(item.name().to_owned());
            async { Ok(BackupOutcome::unchanged()) }
        };
        run_with(
            &with(Act {
                selector: selector.clone(),
                act,
            })
            .await,
            shop(),
        )
        .await;
        assert_eq!(*seen.lock().unwrap(), expected, "{selector:?}");
    }
}

#[tokio::test]
async fn actions_run_at_the_same_time_but_within_bounds() {
    let server = world();
    for at in 0..40 {
        seed(&server, map("shop", &format!("m{at}"), json!({})));
    }
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (n, m) = (Arc::clone(&now), Arc::clone(&most));
    let engine = BackupEngine::new(connect(&server).await).action(on("cm", move |_| {
        let (n, m) = (Arc::clone(&n), Arc::clone(&m));
        async move {
            m.fetch_max(n.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            n.fetch_sub(1, Ordering::SeqCst);
            Ok(BackupOutcome::unchanged())
        }
    }));
    run_with(&engine, shop()).await;
    let most = most.load(Ordering::SeqCst);
    assert!((2..=16).contains(&most), "{most}");
}

/// Actions that cannot say what they want to see.
struct Confused;

#[async_trait::async_trait]
impl BackupItemAction for Confused {
    fn name(&self) -> &str {
        "example.com/confused"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["pods"]).labels("a in".parse().unwrap())
    }

    async fn execute(
        &self,
        _: ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        Ok(BackupOutcome::unchanged())
    }
}

/// An action of which every question that waits for nothing panics.
struct Nameless;

#[async_trait::async_trait]
impl BackupItemAction for Nameless {
    fn name(&self) -> &str {
        panic!("who am I")
    }

    fn applies_to(&self) -> ResourceSelector {
        panic!("what for")
    }

    async fn execute(
        &self,
        _: ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        Ok(BackupOutcome::unchanged())
    }
}

#[async_trait::async_trait]
impl ItemBlockAction for Nameless {
    fn name(&self) -> &str {
        panic!("who am I")
    }

    fn applies_to(&self) -> ResourceSelector {
        panic!("what for")
    }

    async fn related_items(
        &self,
        _: &ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<Vec<ResourceIdentifier>, ActionError> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn an_action_that_cannot_say_its_name_fails_the_backup_by_its_number() {
    let server = world();
    let fine = || on("cm", |_| async { Ok(BackupOutcome::unchanged()) });
    for (engine, what) in [
        (
            engine(&server).await.action(fine()).action(Nameless),
            "added action 2",
        ),
        (
            engine(&server).await.item_block_action(Nameless),
            "added item-block action 1",
        ),
    ] {
        assert!(format!("{engine:?}").contains("BackupEngine"));
        let error = try_run(&engine, shop()).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let expected = format!("{what}: it panicked when it was asked for its name: who am I");
        assert!(error.to_string().contains(&expected), "{error}");
    }
    // Operations go on with the others.
    let engine = engine(&server).await.action(Nameless);
    let item = id("configmaps", "shop", "plain");
    let spec = json!({"backupName": "b1", "backupUID": "u", "backupItemAction": "example.com/gone",
        "resourceIdentifier": item, "operationID": "op", "postOperationItems": null});
    let operation: BackupItemOperation = serde_json::from_value(json!({"spec": spec})).unwrap();
    let mut operations = [operation];
    let records = engine
        .poll_operations(&backup(shop()), &mut operations, &run())
        .await;
    let line = records[0].line();
    assert!(
        line.contains(
            "there is no action \"example.com/gone\" to ask; added action 1: it panicked when it was asked for its name: who am I"
        ),
        "{line}"
    );
}

#[tokio::test]
async fn an_action_that_cannot_say_what_it_wants_fails_the_backup() {
    let engine = engine(&world()).await.action(Confused);
    let error = try_run(&engine, shop()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(
        text.contains("action example.com/confused: it panicked"),
        "{text}"
    );
}
