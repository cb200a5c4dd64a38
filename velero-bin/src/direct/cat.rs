//! `velero direct cat`.

use std::ops::ControlFlow;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use velero_core::archive::{ArchiveReader, EntryKind, ItemPath, VersionDir};
use velero_persistence::{BackupFile, BackupStore};

use super::names::Wanted;
use super::store::StoreArgs;
use crate::cli::output::{self, Format};
use crate::cli::{Exit, console, names};

/// Flags of `direct cat`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DirectCat {
    /// Name of the backup
    name: String,
    /// The object: RESOURCE/NAME or RESOURCE/NAMESPACE/NAME, such as deploy/shop/web, or a line of `direct ls`
    #[arg(value_name = "RESOURCE/[NAMESPACE/]NAME", required = true, num_args = 1..=3)]
    object: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Encoding::Yaml)]
    output: Encoding,
}

/// Form of one object.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Encoding {
    Yaml,
    Json,
}

impl DirectCat {
    pub(super) async fn run(self) -> Result<Exit> {
        names::check("backup", &self.name)?;
        let object = self.object.join("/");
        let wanted = Wanted::parse(&object)?;
        let store = self.store.open_for_reading().await?;
        if !store.backup_exists(&self.name).await? {
            bail!(
                "there is no backup {:?} in {}",
                self.name,
                store.store().describe()
            );
        }
        let mut found = find(&store, &self.name, wanted).await?;
        // Entries come in archive order; the last one of a path counts.
        found.reverse();
        found.dedup_by(|later, earlier| later.0 == earlier.0);
        match found.as_slice() {
            [] => bail!(
                "backup {:?} holds no {object:?}; `velero direct ls {}` lists what it holds",
                self.name,
                self.name
            ),
            [(_, json)] => {
                let value: Value = serde_json::from_slice(json).context("the object is damaged")?;
                let format = match self.output {
                    Encoding::Yaml => Format::Yaml,
                    Encoding::Json => Format::Json,
                };
                console::out(output::encode(&value, format)?);
                Ok(Exit::Success)
            }
            several => {
                let mut paths: Vec<String> =
                    several.iter().map(|(path, _)| spelled(path)).collect();
                paths.sort();
                bail!(
                    "{object:?} stands for several objects; choose one: {}",
                    paths.join(", ")
                )
            }
        }
    }
}

/// A name that stands for one object alone.
fn spelled(path: &ItemPath) -> String {
    if path.namespace.is_empty() {
        format!("{}/{}", path.group_resource, path.name)
    } else {
        format!("{}/{}/{}", path.group_resource, path.namespace, path.name)
    }
}

async fn find(
    store: &BackupStore,
    backup: &str,
    wanted: Wanted,
) -> Result<Vec<(ItemPath, Vec<u8>)>> {
    let archive = store
        .reader(&BackupFile::Contents.of(backup))
        .await?
        .into_blocking();
    let search = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        ArchiveReader::new(archive).for_each(|kind, json| {
            if let EntryKind::Item(path) = kind
                && path.version == VersionDir::Unversioned
                && wanted.matches(&path)
                && wanted.matches_content(&json)
            {
                found.push((path, json));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok::<_, velero_core::Error>(found)
    });
    search
        .await
        .context("reading the archive ended unexpectedly")?
        .with_context(|| format!("cannot read the archive of backup {backup:?}"))
}
