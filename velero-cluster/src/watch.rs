//! Watches: the objects of a scope as they change.

use std::fmt;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use kube::core::WatchEvent;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use velero_core::ApiResource;

use crate::exec::refusal;
use crate::pages::push_param;
use crate::{Cluster, Error, ErrorKind, ListScope, Target, cluster};

/// How much longer than the API server was told to a watch is listened to: a connection may break without a word.
const GRACE: Duration = Duration::from_secs(5);

/// What a watch tells of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// The object as it is now.
    Present(T),
    /// The object as it was when it left the scope: it is deleted, or another selector fits it now.
    Left(T),
}

/// One watch. Dropping it ends it.
pub struct Watch<T> {
    events: BoxStream<'static, Result<WatchEvent<T>, kube::Error>>,
    target: Target,
    deadline: Instant,
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Watches the objects of a scope: first those that are there, in any order, then each change. `T` is what is read of
    /// an object; the fields that it does not name are passed over.
    ///
    /// The watch ends after `limit`, or when the API server ends it; then it is begun again, after a list if it matters
    /// what has gone meanwhile. Watches do not count among the calls of the limiter.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn watch<T>(
        &self,
        resource: &ApiResource,
        scope: &ListScope,
        limit: Duration,
    ) -> Result<Watch<T>, Error>
    where
        T: Clone + DeserializeOwned + Send + 'static,
    {
        let namespace = scope.namespace.as_deref().unwrap_or_default();
        let target = cluster::target("watch", resource, namespace, "");
        let mut query = String::new();
        push_param(&mut query, "watch", "true");
        push_param(
            &mut query,
            "timeoutSeconds",
            &limit.as_secs().max(1).to_string(),
        );
        if !scope.selector.is_empty() {
            push_param(&mut query, "labelSelector", &scope.selector.to_string());
        }
        if let Some(fields) = scope.field_selector.as_deref().filter(|f| !f.is_empty()) {
            push_param(&mut query, "fieldSelector", fields);
        }
        let uri = format!("{}?{query}", resource.path(Some(namespace), None));
        let request = http::Request::get(uri)
            .body(Vec::new())
            .map_err(|error| Error::Answer {
                target: target.clone(),
                reason: error.to_string(),
            })?;
        let deadline = Instant::now() + limit + GRACE;
        let begun = timeout_at(deadline, self.client().request_events::<T>(request)).await;
        let events = match begun {
            Ok(Ok(events)) => events.boxed(),
            Ok(Err(error)) => return Err(refusal(&target, error).into()),
            Err(_) => return Err(late(&target)),
        };
        Ok(Watch {
            events,
            target,
            deadline,
        })
    }
}

impl<T> Watch<T> {
    /// Waits for the next change; `None` when the watch has ended.
    ///
    /// # Errors
    /// When the connection breaks or the API server ends the watch with an error.
    pub async fn next(&mut self) -> Result<Option<Change<T>>, Error> {
        loop {
            let Ok(event) = timeout_at(self.deadline, self.events.next()).await else {
                return Ok(None);
            };
            return match event {
                None => Ok(None),
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    Ok(Some(Change::Present(object)))
                }
                Some(Ok(WatchEvent::Deleted(object))) => Ok(Some(Change::Left(object))),
                Some(Ok(WatchEvent::Bookmark(_))) => continue,
                Some(Ok(WatchEvent::Error(status))) => {
                    Err(refusal(&self.target, kube::Error::Api(status)).into())
                }
                Some(Err(error)) => Err(refusal(&self.target, error).into()),
            };
        }
    }
}

fn late(target: &Target) -> Error {
    crate::CallFailure {
        kind: ErrorKind::Timeout,
        target: target.clone(),
        code: 0,
        message: "no answer in time".to_owned(),
        retry_after: None,
        maybe_done: false,
        continue_token: None,
        source: None,
    }
    .into()
}
