//! Answers to who asks what this server is.
//!
//! Mirrors `pkg/controller/server_status_request_controller.go`.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use velero_core::api::{PluginInfo, ServerStatusRequest, ServerStatusRequestPhase};
use velero_persistence::Location;

use super::context::{Context, after, stamp, until};
use super::controller::{Reconciler, Retry};
use super::objects::Lock;
use super::settings::Settings;

/// Every provider that a store can have.
const PROVIDERS: [&str; 4] = [
    "velero.io/aws",
    "velero.io/azure",
    "velero.io/filesystem",
    "velero.io/gcp",
];

/// How long an answer stays.
const KEPT_NANOS: i64 = 60 * 1_000_000_000;

/// What to do about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Answer it.
    Answer,
    /// Whoever asked has had the time to read the answer: delete it.
    Delete,
    /// Look again when it is to go.
    Wait(Duration),
    /// Nothing: it has a phase of somebody else.
    Rest,
}

fn next(request: &ServerStatusRequest, now: Timestamp) -> Step {
    match &request.status.phase {
        None | Some(ServerStatusRequestPhase::New) => Step::Answer,
        Some(ServerStatusRequestPhase::Processed) => {
            let answered = request.status.processed_timestamp.as_ref();
            let due = answered.map_or(now, |time| after(time.0, KEPT_NANOS));
            match due <= now {
                true => Step::Delete,
                false => Step::Wait(until(due, now)),
            }
        }
        Some(_) => Step::Rest,
    }
}

/// Answers requests for the status of the server.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StatusReconciler;

impl Reconciler for StatusReconciler {
    type Kind = ServerStatusRequest;

    async fn reconcile(&self, context: &Context, name: &str) -> Result<Action, Retry> {
        let Some(request) = context.objects.get::<ServerStatusRequest>(name).await? else {
            return Ok(Action::await_change());
        };
        if request.metadata.deletion_timestamp.is_some() {
            return Ok(Action::await_change());
        }
        match next(&request, context.now()) {
            Step::Rest => Ok(Action::await_change()),
            Step::Wait(pause) => Ok(Action::requeue(pause)),
            Step::Delete => {
                context.objects.delete(&request).await?;
                Ok(Action::await_change())
            }
            Step::Answer => {
                let mut answered = request.clone();
                let status = &mut answered.status;
                status.phase = Some(ServerStatusRequestPhase::Processed);
                status.processed_timestamp = stamp(context.now());
                status.server_version = format!("v{}", env!("CARGO_PKG_VERSION"));
                status.plugins = plugins(&context.settings);
                context
                    .objects
                    .patch(&request, &answered, Lock::SameObject)
                    .await?;
                Ok(Action::requeue(context.settings.tick))
            }
        }
    }
}

/// Everything that is plugged in, by kind and name.
fn plugins(settings: &Settings) -> Vec<PluginInfo> {
    let all_versions = settings.features.all_api_versions();
    let backup = velero_backup::built_in_names(all_versions).into_iter();
    let added = settings.backup_actions.iter().map(|action| action.name());
    let restore = velero_restore::actions::built_in_names();
    let added_restore = settings.restore_actions.iter().map(|action| action.name());
    let stores = PROVIDERS
        .into_iter()
        .filter(|provider| Location::is_builtin_provider(provider));
    let mut all: BTreeSet<(&str, String)> = BTreeSet::new();
    all.extend(
        backup
            .chain(added)
            .map(|name| ("BackupItemAction", name.to_owned())),
    );
    all.extend(restore.into_iter().map(|name| ("RestoreItemAction", name)));
    all.extend(added_restore.map(|name| ("RestoreItemAction", name.to_owned())));
    let deletes = settings.delete_actions.iter().map(|action| action.name());
    all.extend(deletes.map(|name| ("DeleteItemAction", name.to_owned())));
    all.extend(stores.map(|name| ("ObjectStore", name.to_owned())));
    let info = |(kind, name): (&str, String)| PluginInfo {
        name,
        kind: kind.to_owned(),
    };
    all.into_iter().map(info).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn steps() {
        let now = Timestamp::from_second(1_000).unwrap();
        for (phase, answered, expected) in [
            ("", None, Step::Answer),
            ("New", None, Step::Answer),
            (
                "Processed",
                Some(1_000),
                Step::Wait(Duration::from_secs(60)),
            ),
            ("Processed", Some(941), Step::Wait(Duration::from_secs(1))),
            ("Processed", Some(940), Step::Delete),
            ("Processed", None, Step::Delete),
            ("Later", Some(1), Step::Rest),
        ] {
            let answered = answered.map(|second| Timestamp::from_second(second).unwrap());
            let request: ServerStatusRequest = serde_json::from_value(json!({
                "metadata": {"name": "r"}, "spec": {},
                "status": {"phase": phase, "processedTimestamp": answered},
            }))
            .unwrap();
            assert_eq!(next(&request, now), expected, "{phase} {answered:?}");
        }
    }

    #[test]
    fn what_is_built_in_is_listed_by_kind_and_name() {
        let list = |settings: &Settings| -> Vec<Value> {
            plugins(settings)
                .iter()
                .map(|info| json!([info.kind, info.name]))
                .collect()
        };
        let settings = Settings::default();
        let all = list(&settings);
        for (kind, name) in [
            ("BackupItemAction", "velero.io/crd-remap-version"),
            ("BackupItemAction", "velero.io/pod"),
            ("ObjectStore", "velero.io/aws"),
            ("ObjectStore", "velero.io/filesystem"),
            ("RestoreItemAction", "velero.io/change-image-name"),
            ("RestoreItemAction", "velero.io/pod"),
        ] {
            assert!(all.contains(&json!([kind, name])), "{kind} {name}: {all:?}");
        }
        let all_versions = Settings {
            features: crate::features::Features::new(["EnableAPIGroupVersions"]),
            ..settings
        };
        let missing: Vec<&Value> = all
            .iter()
            .filter(|info| !list(&all_versions).contains(info))
            .collect();
        assert_eq!(
            missing,
            [&json!(["BackupItemAction", "velero.io/crd-remap-version"])]
        );
    }
}
