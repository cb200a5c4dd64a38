//! Clients that show a request to a scenario before it is sent, and count what the API server refuses.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::{
    Client,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Looks at the address of a request before it is sent.
pub(crate) type Gate = Arc<dyn Fn(String) -> BoxFuture<'static, ()> + Send + Sync>;

/// How often the API server answered with one code.
#[derive(Clone, Default)]
pub(crate) struct Refusals(Arc<AtomicUsize>);

impl Refusals {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A gate that looks away.
pub(crate) fn none() -> Gate {
    Arc::new(|_| Box::pin(async {}))
}

/// A client that does not try again by itself, which would hide refusals.
pub(crate) async fn plain_client(kubeconfig: &Path) -> Result<Client> {
    let (file, options) = (
        Kubeconfig::read_from(kubeconfig)?,
        KubeConfigOptions::default(),
    );
    let mut config = kube::Config::from_custom_kubeconfig(file, &options).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// A client whose requests pass a gate, all of them or those of one method; answers with the code `refusal` are counted.
pub(crate) fn gated(
    inner: &Client,
    gate: Gate,
    only: Option<Method>,
    refusal: u16,
) -> (Client, Refusals) {
    let (refusals, inner) = (Refusals::default(), inner.clone());
    let counter = refusals.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (gate, counter, inner) = (Arc::clone(&gate), counter.clone(), inner.clone());
        let passes = only.as_ref().is_none_or(|only| request.method() == only);
        async move {
            if passes {
                gate(request.uri().to_string()).await;
            }
            let response: Response<Body> = inner.send(request).await?;
            if response.status().as_u16() == refusal {
                counter.0.fetch_add(1, Ordering::SeqCst);
            }
            Ok::<_, kube::Error>(response)
        }
    });
    (Client::new(service, "default"), refusals)
}
