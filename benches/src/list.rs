//! The bare LIST loop with tar and gzip behind it: what a backup cannot beat.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use flate2::{Compression, write::GzEncoder};
use http::Request;
use kube::{Client, discovery::Discovery};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{post::client, report::Counted};

/// Pages between the reader and the writer.
const PAGES_AHEAD: usize = 2;

/// Arguments of the loop.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Objects in a page.
    #[arg(long)]
    page: usize,
}

/// A kind that can be listed.
#[derive(Debug)]
pub(crate) struct Listable {
    /// `/api/v1/configmaps`.
    pub(crate) path: String,
    folder: String,
    version: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    metadata: PageHead,
    items: Vec<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageHead {
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Head {
    metadata: Meta,
}

/// What an engine needs to know of each object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    namespace: Option<String>,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

struct Batch {
    folder: String,
    version: String,
    items: Vec<Box<RawValue>>,
}

/// Lists everything into an archive that goes nowhere; prints how many objects in which time.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let client = client(&args.kubeconfig).await?;
    let start = Instant::now();
    let (send, receive) = sync_channel::<Batch>(PAGES_AHEAD);
    let writer = thread::spawn(move || write(&receive));
    for kind in listable(&client).await? {
        let mut next = None;
        loop {
            let page = page(&client, &kind.path, args.page, next.as_deref()).await?;
            let batch = Batch {
                folder: kind.folder.clone(),
                version: kind.version.clone(),
                items: page.items,
            };
            // Blocks the runtime's thread on purpose: there is nothing else to do while the writer is behind.
            if tokio::task::block_in_place(|| send.send(batch)).is_err() {
                bail!("the writer stopped");
            }
            match page.metadata.next.filter(|token| !token.is_empty()) {
                Some(token) => next = Some(token),
                None => break,
            }
        }
    }
    drop(send);
    let objects = match writer.join() {
        Ok(objects) => objects?,
        Err(_) => bail!("the writer panicked"),
    };
    Counted {
        objects,
        seconds: start.elapsed().as_secs_f64(),
    }
    .print()
}

/// Every kind that can be listed, once: Events are left out of their second group.
pub(crate) async fn listable(client: &Client) -> Result<Vec<Listable>> {
    let discovery = Discovery::new(client.clone())
        .exclude(&["events.k8s.io"])
        .run_aggregated()
        .await?;
    let mut all = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if !capabilities.supports_operation("list") {
                continue;
            }
            let (prefix, suffix) = match resource.group.as_str() {
                "" => ("/api".to_owned(), String::new()),
                name => (format!("/apis/{name}"), format!(".{name}")),
            };
            all.push(Listable {
                path: format!("{prefix}/{}/{}", resource.version, resource.plural),
                folder: format!("{}{suffix}", resource.plural),
                version: resource.version,
            });
        }
    }
    Ok(all)
}

async fn page(client: &Client, path: &str, limit: usize, next: Option<&str>) -> Result<Page> {
    let mut uri = format!("{path}?limit={limit}");
    if let Some(next) = next {
        uri.push_str("&continue=");
        uri.push_str(next);
    }
    client
        .request(Request::get(&uri).body(Vec::new())?)
        .await
        .with_context(|| format!("LIST {path}"))
}

fn write(batches: &Receiver<Batch>) -> Result<usize> {
    let mut tar = tar::Builder::new(GzEncoder::new(io::sink(), Compression::default()));
    let mut objects = 0;
    for batch in batches {
        for item in batch.items {
            let head: Head =
                serde_json::from_str(item.get()).context("an object without metadata")?;
            append(
                &mut tar,
                &batch.folder,
                &batch.version,
                &head.metadata,
                item.get().as_bytes(),
            )?;
            objects += 1;
        }
    }
    tar.into_inner()?.finish()?;
    Ok(objects)
}

/// Each object lies in the archive twice, under its kind and under its preferred version.
fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    folder: &str,
    version: &str,
    meta: &Meta,
    bytes: &[u8],
) -> Result<()> {
    // The head is parsed as an engine would; using it keeps the parse from being optimised away.
    std::hint::black_box((
        &meta.labels,
        &meta.annotations,
        &meta.uid,
        &meta.resource_version,
    ));
    let place = match &meta.namespace {
        Some(namespace) => format!("namespaces/{namespace}/{}.json", meta.name),
        None => format!("cluster/{}.json", meta.name),
    };
    for path in [
        format!("resources/{folder}/{place}"),
        format!("resources/{folder}/{version}-preferredversion/{place}"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        header.set_entry_type(tar::EntryType::Regular);
        tar.append_data(&mut header, path, bytes)?;
    }
    Ok(())
}
