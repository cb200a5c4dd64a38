//! Events of Kubernetes about what users wait for: a run that waits, a run that has ended, a location that went bad.
//!
//! They are made of the server's own writes, so that no controller has to think of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde_json::Value;
use velero_core::api::VeleroKind;
use velero_core::names::annotations;

use super::objects::FIELD_MANAGER;
use super::pod;

/// Who the events come from.
const CONTROLLER: &str = "velero.io/server";

/// The most bytes of a note that an API server takes, with room for the mark that it was cut.
const NOTE: usize = 1000;

/// Longest time for writing one.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Writes events. A cheap clone.
#[derive(Clone)]
pub(super) struct Events {
    client: Client,
    /// Which of several servers writes them.
    instance: Arc<str>,
    /// Whether it was said that events cannot be written.
    warned: Arc<AtomicBool>,
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct News {
    is_warning: bool,
    reason: String,
    note: String,
}

impl Events {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            instance: pod::told_name().as_deref().unwrap_or(FIELD_MANAGER).into(),
            warned: Arc::default(),
        }
    }

    /// Tells what users want to know of a write: the fields that were sent, and the object as it is since. Nobody waits for
    /// it, and one that cannot be written is no fault.
    pub(super) fn of_write<K: VeleroKind>(&self, sent: &Value, written: &K) {
        if !may_tell(sent) {
            return;
        }
        let Ok(object) = serde_json::to_value(written) else {
            return;
        };
        let Some(news) = news(K::KIND, sent, &object) else {
            return;
        };
        let event = self.event(K::KIND, news, written.object_ref(&()));
        let events = self.clone();
        tokio::spawn(async move {
            let failed = match tokio::time::timeout(TIMEOUT, events.write(&event)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => velero_core::result::chain(&error),
                Err(_) => "no answer".to_owned(),
            };
            if !events.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    error = failed,
                    "events cannot be written; this is said once"
                );
            }
        });
    }

    fn event(&self, kind: &str, news: News, about: ObjectReference) -> Event {
        // A name of an object has at most 253 bytes, and letters or digits in front of its dots.
        let name: String = about
            .name
            .iter()
            .flat_map(|name| name.chars())
            .take(200)
            .collect();
        let name = name.trim_end_matches(['-', '.']);
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{name}.")),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some(kind.to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(cut(news.note)),
            reason: Some(news.reason),
            regarding: Some(about),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.to_string()),
            type_: Some(if news.is_warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        }
    }

    async fn write(&self, event: &Event) -> kube::Result<()> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        api.create(&params, event).await.map(drop)
    }
}

/// Whether fields that were sent can be news: the progress of a run, which is written each second, is not.
fn may_tell(sent: &Value) -> bool {
    let status = &sent["status"];
    sent["metadata"]["annotations"][annotations::WAITS_FOR].is_string()
        || status["phase"].is_string()
        || status["errors"].is_array()
}

/// What a write tells users, without IO.
fn news(kind: &str, sent: &Value, object: &Value) -> Option<News> {
    let of = |is_warning: bool, reason: &str, note: String| {
        let reason = reason.to_owned();
        Some(News {
            is_warning,
            reason,
            note,
        })
    };
    let status = &object["status"];
    let waits = &sent["metadata"]["annotations"][annotations::WAITS_FOR];
    if let Some(what) = waits.as_str() {
        return of(false, "Waiting", format!("it waits for {what}"));
    }
    if kind == "DeleteBackupRequest" {
        let errors = lines(&sent["status"]["errors"]);
        let reason = match status["phase"] == "Processed" {
            true => "DeletionFailed",
            false => "DeletionDelayed",
        };
        return match errors.is_empty() {
            true => None,
            false => of(true, reason, errors),
        };
    }
    match sent["status"]["phase"].as_str()? {
        phase @ ("Completed" | "Available") => of(false, phase, summary(status)),
        phase @ ("Failed" | "PartiallyFailed" | "FailedValidation" | "Unavailable") => {
            of(true, phase, summary(status))
        }
        _ => None,
    }
}

/// Why an object is in its phase, as far as its status says.
fn summary(status: &Value) -> String {
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    let mut parts = vec![
        text("failureReason"),
        text("message"),
        lines(&status["validationErrors"]),
    ];
    for (field, word) in [("errors", "errors"), ("warnings", "warnings")] {
        let count = status[field].as_i64().unwrap_or_default();
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    parts.retain(|part| !part.is_empty());
    match parts.is_empty() {
        true => "without errors and warnings".to_owned(),
        false => parts.join("; "),
    }
}

fn lines(list: &Value) -> String {
    let texts = list.as_array().into_iter().flatten();
    let texts: Vec<&str> = texts.filter_map(Value::as_str).collect();
    texts.join("; ")
}

fn cut(mut note: String) -> String {
    if note.len() <= NOTE {
        return note;
    }
    note.truncate(note.floor_char_boundary(NOTE));
    note.push_str(" ...");
    note
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_tell_what_users_want_to_know() {
        let told = |kind: &str, sent: Value, status: Value| {
            let found = news(kind, &sent, &json!({"status": status}))?;
            assert!(may_tell(&sent), "{sent}");
            Some((found.is_warning, found.reason, found.note))
        };
        let some = |is_warning: bool, reason: &str, note: &str| {
            Some((is_warning, reason.to_owned(), note.to_owned()))
        };
        let phase = |phase: &str| json!({"status": {"phase": phase}});
        for (kind, sent, status, expected) in [
            ("Backup", phase("InProgress"), json!({}), None),
            (
                "Backup",
                json!({"status": {"progress": {}}}),
                json!({"phase": "Failed"}),
                None,
            ),
            (
                "Backup",
                phase("Completed"),
                json!({"warnings": 2}),
                some(false, "Completed", "2 warnings"),
            ),
            (
                "Restore",
                phase("PartiallyFailed"),
                json!({"failureReason": "cancelled", "errors": 1, "warnings": 2}),
                some(true, "PartiallyFailed", "cancelled; 1 errors; 2 warnings"),
            ),
            (
                "Restore",
                phase("FailedValidation"),
                json!({"validationErrors": ["a", "b"]}),
                some(true, "FailedValidation", "a; b"),
            ),
            (
                "BackupStorageLocation",
                phase("Unavailable"),
                json!({"message": "no bucket"}),
                some(true, "Unavailable", "no bucket"),
            ),
            (
                "BackupStorageLocation",
                phase("Available"),
                json!({}),
                some(false, "Available", "without errors and warnings"),
            ),
            (
                "Backup",
                json!({"metadata": {"annotations": {"x.velero.io/waits-for": "its turn"}}}),
                json!({}),
                some(false, "Waiting", "it waits for its turn"),
            ),
            (
                "Backup",
                json!({"metadata": {"annotations": {"x.velero.io/waits-for": null}}, "status": {"phase": "Completed"}}),
                json!({}),
                some(false, "Completed", "without errors and warnings"),
            ),
            (
                "DeleteBackupRequest",
                json!({"status": {"errors": ["away"]}}),
                json!({"phase": "InProgress"}),
                some(true, "DeletionDelayed", "away"),
            ),
            (
                "DeleteBackupRequest",
                json!({"status": {"errors": ["no"], "phase": "Processed"}}),
                json!({"phase": "Processed"}),
                some(true, "DeletionFailed", "no"),
            ),
            (
                "DeleteBackupRequest",
                phase("Processed"),
                json!({"phase": "Processed"}),
                None,
            ),
            ("DownloadRequest", phase("Processed"), json!({}), None),
        ] {
            assert_eq!(told(kind, sent.clone(), status), expected, "{kind} {sent}");
        }
    }

    #[test]
    fn notes_are_cut_between_letters() {
        assert_eq!(cut("short".to_owned()), "short");
        let long = cut("\u{e4}".repeat(NOTE));
        assert!(
            long.len() <= 1024 && long.ends_with(" ..."),
            "{}",
            long.len()
        );
    }
}
