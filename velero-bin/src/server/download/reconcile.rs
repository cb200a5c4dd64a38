//! The answers to requests for an address.

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use velero_core::api::{DownloadRequest, DownloadRequestPhase};
use velero_core::names::annotations::{self, THROUGH_SERVER};
use velero_persistence::ErrorKind;

use super::find::find;
use crate::server::context::{Context, after, stamp, until};
use crate::server::controller::{Reconciler, Retry};
use crate::server::objects::Lock;
use crate::server::waits;

/// What to do about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It has expired: delete it.
    Delete,
    /// Set its expiration, so that it goes whatever becomes of it.
    Expire,
    /// Make the address.
    Sign,
    /// Done; look again when it expires.
    Wait(Duration),
    /// Done, and it never expires.
    Rest,
}

fn next(request: &DownloadRequest, now: Timestamp) -> Step {
    let expiration = request.status.expiration.as_ref().map(|time| time.0);
    if expiration.is_some_and(|expiration| expiration <= now) {
        return Step::Delete;
    }
    match (&request.status.phase, expiration) {
        (None | Some(DownloadRequestPhase::New), None) => Step::Expire,
        (None | Some(DownloadRequestPhase::New), Some(_)) => Step::Sign,
        (_, Some(expiration)) => Step::Wait(until(expiration, now)),
        (_, None) => Step::Rest,
    }
}

/// Answers download requests.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::server) struct DownloadReconciler;

impl Reconciler for DownloadReconciler {
    type Kind = DownloadRequest;

    async fn reconcile(&self, context: &Context, name: &str) -> Result<Action, Retry> {
        let Some(request) = context.objects.get::<DownloadRequest>(name).await? else {
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
            Step::Expire => {
                let mut expiring = request.clone();
                expiring.status.expiration = stamp(expiration(context));
                let expiring = context
                    .objects
                    .patch(&request, &expiring, Lock::SameObject)
                    .await?;
                sign(context, &expiring).await
            }
            Step::Sign => sign(context, &request).await,
        }
    }
}

fn expiration(context: &Context) -> Timestamp {
    after(
        context.now(),
        i64::try_from(context.settings.download_ttl.as_nanos()).unwrap_or(i64::MAX),
    )
}

/// Makes the address and writes it. A request that cannot be answered now is tried again until it expires.
async fn sign(context: &Context, request: &DownloadRequest) -> Result<Action, Retry> {
    let name = request.metadata.name.as_deref().unwrap_or_default();
    let target = &request.spec.target;
    let url = match address(context, request).await? {
        Ok(url) => url,
        Err(problem) => {
            let mut told = request.clone();
            waits::set(&mut told.metadata, Some(&problem), context.now());
            if told.metadata != request.metadata {
                tracing::warn!(request = name, kind = %target.kind, target = target.name, problem, "no address can be given");
            }
            context
                .objects
                .patch(request, &told, Lock::SameObject)
                .await?;
            return Ok(Action::requeue(context.settings.tick));
        }
    };
    let mut done = request.clone();
    waits::clear(&mut done.metadata);
    done.status.phase = Some(DownloadRequestPhase::Processed);
    done.status.download_url = url;
    done.status.expiration = stamp(expiration(context));
    context
        .objects
        .patch(request, &done, Lock::SameObject)
        .await?;
    Ok(Action::requeue(context.settings.download_ttl))
}

/// The address, or why there can be none.
async fn address(
    context: &Context,
    request: &DownloadRequest,
) -> Result<Result<String, String>, Retry> {
    let target = &request.spec.target;
    let (store, artifact) = match find(context, target).await? {
        Ok(found) => found,
        Err(problem) => return Ok(Err(problem)),
    };
    let through = || {
        let gateway = &context.gateway;
        gateway.address(context, target, expiration(context))
    };
    if wants_server(request) {
        return Ok(through().await);
    }
    match store
        .presign(&artifact, context.settings.download_ttl)
        .await
    {
        Ok(url) => Ok(Ok(url)),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            Ok(match store.store().local_path(artifact.key()) {
                Some(path) => url::Url::from_file_path(&path)
                    .map(String::from)
                    .map_err(|()| format!("{} is not an absolute path", path.display())),
                None => through().await,
            })
        }
        Err(error) if error.is_retryable() => Err(error.into()),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Whether whoever asks cannot reach the store.
fn wants_server(request: &DownloadRequest) -> bool {
    let own = request.metadata.annotations.as_ref();
    own.and_then(|own| own.get(annotations::THROUGH))
        .is_some_and(|through| through == THROUGH_SERVER)
}

#[cfg(test)]
mod tests {
    use velero_core::api::Time;

    use super::*;

    #[test]
    fn steps() {
        use DownloadRequestPhase::*;
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        for (phase, expiration, expected) in [
            (None, None, Step::Expire),
            (Some(New), None, Step::Expire),
            (None, Some(600), Step::Sign),
            (Some(New), Some(1), Step::Sign),
            (Some(New), Some(0), Step::Delete),
            (Some(Processed), Some(-1), Step::Delete),
            (
                Some(Processed),
                Some(600),
                Step::Wait(Duration::from_secs(600)),
            ),
            (Some(Processed), None, Step::Rest),
            (
                Some(Unknown("Later".into())),
                Some(5),
                Step::Wait(Duration::from_secs(5)),
            ),
        ] {
            let mut request = DownloadRequest::default();
            request.status.phase = phase.clone();
            request.status.expiration = expiration.map(|s| Time(at(s)));
            assert_eq!(next(&request, at(0)), expected, "{phase:?} {expiration:?}");
        }
    }
}
