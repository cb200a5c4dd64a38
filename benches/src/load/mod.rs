//! What is written to the cluster: many equal ConfigMaps, some large ones among them, many kinds, or a mix of kinds.

mod crds;
mod definitions;
mod mixed;
mod plain;

use anyhow::{Context, Result};
use clap::ValueEnum;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PostParams};
use serde_json::json;

const MIXED_NAMESPACES: usize = 40;
const PLAIN_NAMESPACES: usize = 30;

/// How much to measure with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    /// 5,000 ConfigMaps of 1 KB in 30 namespaces.
    #[value(name = "5k")]
    Small,
    /// 10,000 ConfigMaps.
    #[value(name = "10k")]
    Ten,
    /// 15,000 ConfigMaps.
    #[value(name = "15k")]
    Medium,
    /// 100,000 ConfigMaps.
    #[value(name = "100k")]
    Large,
    /// 300,000 ConfigMaps: whether memory stays where it is.
    #[value(name = "300k")]
    Huge,
    /// 1,000 ConfigMaps of 1 MB that hardly shrink, and 5,000 of 1 KB: whether memory stays where it is.
    #[value(name = "big")]
    Big,
    /// 200 CRDs of 20 KB, with 20 custom resources each: whether memory stays where it is.
    #[value(name = "crds")]
    Crds,
    /// 28,000 objects of nine kinds in 40 namespaces, with the controllers running: their pods have owners, claims that
    /// they share and accounts.
    #[value(name = "mixed")]
    Mixed,
}

/// Where to POST one object, and its body.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) path: String,
    pub(crate) json: Vec<u8>,
}

impl Size {
    /// Name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "5k",
            Self::Ten => "10k",
            Self::Medium => "15k",
            Self::Large => "100k",
            Self::Huge => "300k",
            Self::Big => "big",
            Self::Crds => "crds",
            Self::Mixed => "mixed",
        }
    }

    /// Number of objects, without the namespaces and the CRDs.
    pub(crate) fn objects(self) -> usize {
        match self {
            Self::Small => 5_000,
            Self::Ten => 10_000,
            Self::Medium => 15_000,
            Self::Large => 100_000,
            Self::Huge => 300_000,
            Self::Big => plain::LARGE + 5_000,
            Self::Crds => crds::OBJECTS,
            Self::Mixed => MIXED_NAMESPACES * mixed::per_namespace(),
        }
    }

    /// Number of pods that follow from the Deployments.
    pub(crate) fn pods(self) -> usize {
        match self {
            Self::Mixed => MIXED_NAMESPACES * mixed::pods_per_namespace(),
            _ => 0,
        }
    }

    fn namespaces(self) -> usize {
        match self {
            Self::Mixed => MIXED_NAMESPACES,
            _ => PLAIN_NAMESPACES,
        }
    }

    /// Creates the namespaces and the CRDs.
    pub(crate) async fn prepare(self, client: &Client) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for n in 0..self.namespaces() {
            let object = serde_json::from_value(json!({"metadata": {"name": namespace(n)}}))?;
            namespaces
                .create(&PostParams::default(), &object)
                .await
                .context("cannot create a namespace")?;
        }
        match self {
            Self::Mixed => definitions::create(client, &[mixed::definition()]).await,
            Self::Crds => definitions::create(client, &crds::definitions()).await,
            _ => Ok(()),
        }
    }

    /// Object number `n`, for `n` below [`Size::objects`].
    ///
    /// Neighbours lie in different namespaces, as they would with concurrent writers.
    pub(crate) fn body(self, n: usize) -> Body {
        let (space, within) = (namespace(n % self.namespaces()), n / self.namespaces());
        match self {
            Self::Mixed => mixed::body(&space, within),
            Self::Crds => crds::body(&space, n),
            Self::Big if n < plain::LARGE => plain::large(&space, n),
            _ => plain::small(&space, within),
        }
    }
}

impl Body {
    /// A body for the objects of a resource in a namespace; `api` is `api/v1` or `apis/GROUP/VERSION`.
    fn new(api: &str, space: &str, resource: &str, json: String) -> Self {
        Self {
            path: format!("/{api}/namespaces/{space}/{resource}?fieldManager=velero-benches"),
            json: json.into_bytes(),
        }
    }
}

fn namespace(n: usize) -> String {
    format!("bench-{n:02}")
}
