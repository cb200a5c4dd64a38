//! An API server behind a gate: a closure sees each request before the server does.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use kube::client::Body;
use tower::Service as _;
use velero_backup::{BackupEngine, BackupOptions, Cluster};
use velero_cluster::{ClusterOptions, ListOptions};
use velero_core::kube;
use velero_testkit::ApiServer;

/// What becomes of a request.
pub(crate) enum Pass {
    /// The server answers.
    Through,
    /// The connection breaks before the server sees it.
    Broken,
    /// This is the answer, with code 200.
    Answer(String),
}

/// Objects of one page, behind a gate.
pub(crate) const PAGE: usize = 10;

/// Longest time for all tries of one call, behind a gate.
pub(crate) const CALL: Duration = Duration::from_millis(1500);

/// An engine whose requests pass `gate`, which is given their path and query. Lists come in pages of 10.
pub(crate) async fn behind(
    server: &ApiServer,
    gate: impl Fn(&str) -> Pass + Send + Sync + 'static,
) -> BackupEngine {
    let (service, gate) = (server.service(), Arc::new(gate));
    let gated = tower::service_fn(move |request: http::Request<Body>| {
        let (mut service, gate) = (service.clone(), Arc::clone(&gate));
        async move {
            let uri = request.uri().path_and_query().map(ToString::to_string);
            match gate(&uri.unwrap_or_default()) {
                Pass::Through => Ok(service.call(request).await?.map(Either::Left)),
                Pass::Broken => Err(tower::BoxError::from("the connection is gone")),
                Pass::Answer(text) => Ok(http::Response::new(Either::Right(Full::from(text)))),
            }
        }
    });
    let client = kube::Client::new(gated, "default");
    let options = ClusterOptions::default().timeouts(Duration::from_secs(10), CALL);
    let cluster = Cluster::connect_with(client, options).await.unwrap();
    let pages = ListOptions::default().page_size(PAGE as u32);
    BackupEngine::new(cluster).options(BackupOptions::default().list(pages))
}

/// Whether a request is for one page of a list of a resource in the whole cluster; the first one has no token.
pub(crate) fn is_page(uri: &str, resource: &str, first: bool) -> bool {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    path.rsplit('/').next() == Some(resource)
        && !path.contains("/namespaces/")
        && query.contains("limit=")
        && query.contains("continue=") != first
}
