//! The way to files through the server, open while somebody has an address there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
    ServicePort, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::{NamespaceResourceScope, ObjectMeta};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use velero_core::CancellationToken;
use velero_core::api::DownloadTarget;

use super::serve::Server;
use super::signed_path::Signer;
use crate::passed_on::{self, PORT, SERVICE};
use crate::server::context::{Context, until};
use crate::server::http;
use crate::server::objects::{ApiError, FIELD_MANAGER};

/// Longest time between two looks at whether it is still needed.
const LOOK: Duration = Duration::from_secs(5);

/// The port of the Service; nobody connects to it but the API server, which goes by its name.
const SERVICE_PORT: i32 = 80;

/// The way to files through the server. A cheap clone; clones are one.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Gateway(Arc<Mutex<Option<Open>>>);

/// A gateway that is open.
#[derive(Debug)]
struct Open {
    signer: Arc<Signer>,
    /// When the last address expires.
    until: Timestamp,
    shut: CancellationToken,
}

/// The Pod that the server runs in.
struct Own {
    name: String,
    uid: String,
    ip: IpAddr,
}

impl Gateway {
    /// An address for a file until then; what is needed to reach it is there afterwards. Or why there can be none.
    pub(super) async fn address(
        &self,
        context: &Context,
        target: &DownloadTarget,
        until: Timestamp,
    ) -> Result<String, String> {
        let mut open = self.0.lock().await;
        if open.is_none() {
            *open = Some(self.open(context, until).await?);
        }
        let Some(open) = open.as_mut() else {
            return Err("the server has nothing open".to_owned());
        };
        open.until = open.until.max(until);
        let path = open.signer.path(target, until);
        Ok(passed_on::url(context.objects.namespace(), &path))
    }

    async fn open(&self, context: &Context, until: Timestamp) -> Result<Open, String> {
        let own = own_pod(context).await?;
        let address = SocketAddr::new(own.ip, context.settings.download_port);
        let listener = http::bind(address).await.map_err(|error| {
            format!("the server cannot listen on {address}, which --download-port names: {error}")
        })?;
        let port = listener.local_addr().map_err(|error| error.to_string())?;
        let port = i32::from(port.port());
        publish(context, &own, port)
            .await
            .map_err(|error| error.to_string())?;
        let open = Open {
            signer: Arc::new(Signer::new()?),
            until,
            shut: context.stopping.child_token(),
        };
        tracing::info!(%address, port, "files of stores are passed on");
        self.serve(context, &open, listener);
        Ok(open)
    }

    /// Passes files on until no address is good any more. What is being read then is read to its end.
    fn serve(&self, context: &Context, open: &Open, listener: TcpListener) {
        let server = Server::new(context.clone(), Arc::clone(&open.signer));
        let answer = move |request| server.clone().answer(request);
        let stopping = context.stopping.clone();
        let shut = open.shut.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = shut.cancelled() => {}
                () = http::serve(listener, "downloads", answer, stopping) => {}
            }
        });
        let (gateway, context) = (self.clone(), context.clone());
        tokio::spawn(async move { gateway.shut_in_time(&context).await });
    }

    async fn shut_in_time(&self, context: &Context) {
        let longest = LOOK.min(context.settings.tick);
        loop {
            let left = {
                let mut open = self.0.lock().await;
                let Some(found) = &*open else { return };
                let left = until(found.until, context.now());
                if left.is_zero() || context.stopping.is_cancelled() {
                    found.shut.cancel();
                    // Who asks for an address meanwhile waits, and opens it anew.
                    withdraw(context).await;
                    *open = None;
                    tracing::info!("files of stores are not passed on any more");
                    return;
                }
                left
            };
            tokio::select! {
                () = context.stopping.cancelled() => {}
                () = tokio::time::sleep(left.min(longest)) => {}
            }
        }
    }
}

/// The Pod that the server runs in, by which the API server finds it.
async fn own_pod(context: &Context) -> Result<Own, String> {
    let namespace = context.objects.namespace();
    let Some(name) = context.settings.pod.clone() else {
        return Err("the file can be had only through the server, and that runs in no Pod, so that nobody can reach it; in a Pod it is told its name by the variable POD_NAME".to_owned());
    };
    let api: Api<Pod> = Api::namespaced(context.objects.client().clone(), namespace);
    let what = format!("pod {namespace}/{name}");
    let pod = context
        .objects
        .call("get", what.clone(), api.get_opt(&name));
    let pod = pod.await.map_err(|error| error.to_string())?;
    let pod =
        pod.ok_or_else(|| format!("the server's {what}, as POD_NAME has it, is not there"))?;
    let ip = pod.status.and_then(|status| status.pod_ip);
    let ip = ip.and_then(|ip| ip.parse().ok());
    Ok(Own {
        name,
        uid: pod.metadata.uid.unwrap_or_default(),
        ip: ip.ok_or_else(|| format!("the server's {what} has no IP address"))?,
    })
}

/// Tells the API server where it finds the server. The API server goes by Endpoints, and proxies to addresses of Pods only;
/// a controller of Kubernetes makes an EndpointSlice of them.
async fn publish(context: &Context, own: &Own, port: i32) -> Result<(), ApiError> {
    let metadata = ObjectMeta {
        name: Some(SERVICE.to_owned()),
        owner_references: Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: own.name.clone(),
            uid: own.uid.clone(),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    };
    let service = Service {
        metadata: metadata.clone(),
        spec: Some(ServiceSpec {
            // No address of its own: nothing is routed there.
            cluster_ip: Some("None".to_owned()),
            ports: Some(vec![ServicePort {
                name: Some(PORT.to_owned()),
                port: SERVICE_PORT,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::Int(port)),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    let endpoints = Endpoints {
        metadata,
        subsets: Some(vec![EndpointSubset {
            addresses: Some(vec![EndpointAddress {
                ip: own.ip.to_string(),
                target_ref: Some(ObjectReference {
                    kind: Some("Pod".to_owned()),
                    name: Some(own.name.clone()),
                    namespace: Some(context.objects.namespace().to_owned()),
                    uid: Some(own.uid.clone()),
                    ..ObjectReference::default()
                }),
                ..EndpointAddress::default()
            }]),
            ports: Some(vec![EndpointPort {
                name: Some(PORT.to_owned()),
                port,
                protocol: Some("TCP".to_owned()),
                ..EndpointPort::default()
            }]),
            ..EndpointSubset::default()
        }]),
    };
    apply(context, &service).await?;
    apply(context, &endpoints).await
}

async fn apply<K>(context: &Context, object: &K) -> Result<(), ApiError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = of_namespace(context);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(object);
    let call = api.patch(SERVICE, &params, &patch);
    context
        .objects
        .call("apply", what::<K>(), call)
        .await
        .map(drop)
}

/// Takes away what [`publish`] has made. What stays goes with the Pod.
async fn withdraw(context: &Context) {
    withdraw_one::<Service>(context).await;
    withdraw_one::<Endpoints>(context).await;
}

async fn withdraw_one<K>(context: &Context)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = of_namespace(context);
    let params = DeleteParams::default();
    let call = api.delete(SERVICE, &params);
    match context.objects.call("delete", what::<K>(), call).await {
        Err(error) if !error.is_not_found() => {
            tracing::warn!(%error, "it stays until the server's Pod is gone");
        }
        _ => {}
    }
}

fn of_namespace<K>(context: &Context) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let objects = &context.objects;
    Api::namespaced(objects.client().clone(), objects.namespace())
}

fn what<K: Resource<DynamicType = ()>>() -> String {
    format!("{} {SERVICE:?}", K::kind(&()))
}
