//! Watches.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::api::{DynamicObject, WatchEvent};
use serde_json::json;

use super::cx::PatchKind;
use super::{Cx, Failure, same, suite};

suite!(
    watches_see_what_follows,
    watches_begin_with_what_is_there,
    watches_follow_selectors,
    watches_follow_one_object,
    watches_mark_the_end_of_the_beginning,
    watches_end_in_time,
);

type Events = BoxStream<'static, kube::Result<WatchEvent<DynamicObject>>>;

async fn open(cx: &Cx, path: &str) -> Result<Events, Failure> {
    let failed = |message: String| Failure::Call {
        call: format!("WATCH {path}"),
        message,
    };
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|e| failed(e.to_string()))?;
    let stream = cx
        .client
        .request_events::<DynamicObject>(request)
        .await
        .map_err(|e| failed(e.to_string()))?;
    Ok(stream.boxed())
}

/// The next event as type and name, or a note that none came.
async fn next(events: &mut Events) -> (String, String) {
    let event = match tokio::time::timeout(Duration::from_secs(20), events.next()).await {
        Err(_) => return ("nothing".into(), "within 20 s".into()),
        Ok(None) => return ("end".into(), String::new()),
        Ok(Some(Err(error))) => return ("failure".into(), error.to_string()),
        Ok(Some(Ok(event))) => event,
    };
    let name = |o: DynamicObject| o.metadata.name.unwrap_or_default();
    match event {
        WatchEvent::Added(o) => ("ADDED".into(), name(o)),
        WatchEvent::Modified(o) => ("MODIFIED".into(), name(o)),
        WatchEvent::Deleted(o) => ("DELETED".into(), name(o)),
        WatchEvent::Bookmark(b) => (
            "BOOKMARK".into(),
            b.metadata.annotations.into_keys().collect(),
        ),
        WatchEvent::Error(e) => ("ERROR".into(), e.message),
    }
}

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.into(), name.into())
}

async fn version(cx: &Cx) -> Result<String, Failure> {
    let list = cx.get(&cx.path("/api/v1", "configmaps")).await?;
    Ok(list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

async fn watches_see_what_follows(cx: Cx) -> Result<(), Failure> {
    cx.config_map("before").await?;
    let from = version(&cx).await?;
    let path = cx.path("/api/v1", "configmaps");
    cx.config_map("one").await?;
    let mut events = open(
        &cx,
        &format!("{path}?watch=true&resourceVersion={from}&labelSelector=app"),
    )
    .await?;
    same!(
        next(&mut events).await,
        event("ADDED", "one"),
        "first event"
    );
    cx.patch(
        &format!("{path}/one"),
        PatchKind::Merge,
        json!({"data": {"b": "2"}}),
    )
    .await?;
    same!(
        next(&mut events).await,
        event("MODIFIED", "one"),
        "second event"
    );
    cx.delete(&format!("{path}/one"), json!({})).await?;
    same!(
        next(&mut events).await,
        event("DELETED", "one"),
        "third event"
    );
    Ok(())
}

async fn watches_begin_with_what_is_there(cx: Cx) -> Result<(), Failure> {
    cx.config_map("a").await?;
    cx.config_map("b").await?;
    let path = format!(
        "{}?watch=true&labelSelector=app",
        cx.path("/api/v1", "configmaps")
    );
    let mut events = open(&cx, &path).await?;
    same!(next(&mut events).await, event("ADDED", "a"), "first event");
    same!(next(&mut events).await, event("ADDED", "b"), "second event");
    cx.config_map("c").await?;
    same!(next(&mut events).await, event("ADDED", "c"), "third event");
    Ok(())
}

async fn watches_follow_selectors(cx: Cx) -> Result<(), Failure> {
    let from = version(&cx).await?;
    let path = cx.path("/api/v1", "configmaps");
    let mut events = open(
        &cx,
        &format!("{path}?watch=true&resourceVersion={from}&labelSelector=app%3Done"),
    )
    .await?;
    cx.config_map("one").await?;
    cx.config_map("two").await?;
    let label = |value: &str| json!({"metadata": {"labels": {"app": value}}});
    cx.patch(&format!("{path}/one"), PatchKind::Merge, label("other"))
        .await?;
    cx.patch(&format!("{path}/two"), PatchKind::Merge, label("one"))
        .await?;
    same!(
        next(&mut events).await,
        event("ADDED", "one"),
        "first event"
    );
    same!(
        next(&mut events).await,
        event("DELETED", "one"),
        "second event"
    );
    same!(
        next(&mut events).await,
        event("ADDED", "two"),
        "third event"
    );
    Ok(())
}

async fn watches_follow_one_object(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    let mut events = open(
        &cx,
        &format!("{path}?watch=true&fieldSelector=metadata.name%3Dtwo"),
    )
    .await?;
    cx.config_map("one").await?;
    cx.config_map("two").await?;
    same!(
        next(&mut events).await,
        event("ADDED", "two"),
        "first event"
    );
    Ok(())
}

async fn watches_mark_the_end_of_the_beginning(cx: Cx) -> Result<(), Failure> {
    cx.config_map("a").await?;
    let path = format!(
        "{}?watch=true&labelSelector=app&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan",
        cx.path("/api/v1", "configmaps")
    );
    let mut events = open(&cx, &path).await?;
    same!(next(&mut events).await, event("ADDED", "a"), "first event");
    same!(
        next(&mut events).await,
        event("BOOKMARK", "k8s.io/initial-events-end"),
        "second event"
    );
    Ok(())
}

async fn watches_end_in_time(cx: Cx) -> Result<(), Failure> {
    let from = version(&cx).await?;
    let path = cx.path("/api/v1", "configmaps");
    let path =
        format!("{path}?watch=true&resourceVersion={from}&timeoutSeconds=1&labelSelector=app");
    let mut events = open(&cx, &path).await?;
    same!(next(&mut events).await, event("end", ""), "first event");
    Ok(())
}
