//! `watch`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;

use crate::reply::{BoxError, Reply};
use crate::server::Inner;
use crate::status::ApiError;
use crate::store::{Change, Event, Stored, prefix};
use crate::tables;
use crate::verbs::{Request, read};

/// How long a watch lasts when the client names no time, in seconds.
const DEFAULT_TIMEOUT: u64 = 1800;
/// Time between bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

struct Watcher {
    inner: Arc<Inner>,
    request: Request,
    selection: read::Selection,
    prefix: String,
    cursor: u64,
    /// The server's version when events were last collected: what a bookmark may promise.
    seen: u64,
    pending: VecDeque<Bytes>,
    changed: tokio::sync::watch::Receiver<u64>,
    deadline: tokio::time::Instant,
    next_bookmark: tokio::time::Instant,
    ended: bool,
}

pub(crate) fn watch(inner: &Arc<Inner>, request: &Request) -> Result<Reply, ApiError> {
    let selection = read::Selection::of(request)?;
    let request = Request {
        method: request.method.clone(),
        resource: request.resource.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        content_type: String::new(),
        accept: request.accept.clone(),
        user_agent: None,
        body: Bytes::new(),
        now: request.now,
    };
    let now = tokio::time::Instant::now();
    let timeout = Duration::from_secs(request.query.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT));
    let mut watcher = Watcher {
        inner: inner.clone(),
        prefix: prefix(request.namespace()),
        request,
        selection,
        cursor: 0,
        seen: 0,
        pending: VecDeque::new(),
        changed: inner.lock().subscribe(),
        deadline: now + timeout,
        next_bookmark: now + BOOKMARK_EVERY,
        ended: false,
    };
    watcher.start()?;
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        let chunk = watcher.next().await?;
        Some((Ok::<Bytes, BoxError>(chunk), watcher))
    });
    Ok(Reply::Stream(stream.boxed()))
}

impl Watcher {
    /// Sets the cursor, and queues what is there already when the client asks from no version.
    fn start(&mut self) -> Result<(), ApiError> {
        let version = self.request.query.resource_version.clone();
        let version = version.as_deref().unwrap_or_default();
        let initial = matches!(version, "" | "0") || self.request.query.send_initial_events;
        let state = self.inner.lock();
        if initial {
            self.cursor = state.rv;
            self.seen = state.rv;
            let table = self.request.resource.table.clone();
            let events: Vec<Bytes> = state
                .range(&table, &self.prefix)
                .filter(|o| self.selection.matches(o))
                .map(|o| self.event("ADDED", o))
                .collect();
            drop(state);
            self.pending.extend(events);
            if self.request.query.send_initial_events && self.request.query.bookmarks {
                let mark = self.bookmark(true);
                self.pending.push_back(mark);
            }
            return Ok(());
        }
        let asked: u64 = version.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "invalid resource version \"{version}\": want a number"
            ))
        })?;
        let compacted = state
            .table(&self.request.resource.table)
            .map_or(0, |t| t.compacted);
        drop(state);
        self.cursor = asked;
        if asked < compacted {
            let error =
                ApiError::expired(format!("too old resource version: {asked} ({compacted})"));
            self.pending
                .push_back(line(&json!({"type": "ERROR", "object": error.body()})));
            self.ended = true;
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.pending.pop_front() {
                return Some(chunk);
            }
            if self.ended {
                return None;
            }
            self.changed.borrow_and_update();
            self.collect();
            if !self.pending.is_empty() || self.ended {
                continue;
            }
            let until = self.deadline.min(self.next_bookmark);
            tokio::select! {
                changed = self.changed.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                }
                () = tokio::time::sleep_until(until) => {
                    let now = tokio::time::Instant::now();
                    if self.request.query.bookmarks {
                        let mark = self.bookmark(false);
                        self.pending.push_back(mark);
                    }
                    self.next_bookmark = now + BOOKMARK_EVERY;
                    self.ended = now >= self.deadline;
                }
            }
        }
    }

    /// Queues the events since the cursor.
    fn collect(&mut self) {
        let state = self.inner.lock();
        self.seen = state.rv;
        let Some(table) = state.table(&self.request.resource.table) else {
            return;
        };
        if self.cursor < table.compacted {
            let error = ApiError::expired(format!(
                "too old resource version: {} ({})",
                self.cursor, table.compacted
            ));
            self.pending
                .push_back(line(&json!({"type": "ERROR", "object": error.body()})));
            self.ended = true;
            return;
        }
        let start = table.history.partition_point(|e| e.rv <= self.cursor);
        let events: Vec<Event> = table
            .history
            .range(start..)
            .filter(|e| e.object.key.starts_with(&self.prefix))
            .cloned()
            .collect();
        if let Some(last) = table.history.back() {
            self.cursor = self.cursor.max(last.rv);
        }
        drop(state);
        for event in events {
            let was = event
                .before
                .as_ref()
                .is_some_and(|o| self.selection.matches(o));
            let is = event.change != Change::Deleted && self.selection.matches(&event.object);
            let kind = match (was, is) {
                (false, true) => "ADDED",
                (true, true) => "MODIFIED",
                (true, false) => "DELETED",
                (false, false) => continue,
            };
            let chunk = self.event(kind, &event.object);
            self.pending.push_back(chunk);
        }
    }

    fn event(&self, kind: &str, object: &Stored) -> Bytes {
        let resource = &self.request.resource;
        let mut out = Vec::with_capacity(object.raw.len() + 96);
        out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
        match tables::wanted(&self.request.accept) {
            Some(form) => tables::write_object(&self.request, form, object, &mut out),
            None => read::write_full(resource, object, &mut out),
        }
        out.extend_from_slice(b"}\n");
        Bytes::from(out)
    }

    fn bookmark(&self, initial: bool) -> Bytes {
        let resource = &self.request.resource;
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        line(&json!({"type": "BOOKMARK", "object": {
            "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata,
        }}))
    }
}

fn line(value: &serde_json::Value) -> Bytes {
    let mut out = serde_json::to_vec(value).unwrap_or_default();
    out.push(b'\n');
    Bytes::from(out)
}
