//! What is in a backup's folder of a bucket, without our own reader.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// The files of one backup.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    folder: PathBuf,
    name: String,
}

impl Archive {
    /// The backup `name` in the folder of a bucket.
    pub(crate) fn new(bucket: &Path, name: &str) -> Self {
        Self {
            folder: bucket.join("backups").join(name),
            name: name.to_owned(),
        }
    }

    /// The archive's entries: path and content; of two with the same path, the later one.
    pub(crate) fn entries(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut entries = BTreeMap::new();
        for entry in self.open()?.entries()? {
            let mut entry = entry?;
            let name = entry.path()?.display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            entries.insert(name, content);
        }
        Ok(entries)
    }

    /// The paths of the archive's entries, in their order.
    pub(crate) fn paths(&self) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        for entry in self.open()?.entries()? {
            paths.push(entry?.path()?.display().to_string());
        }
        Ok(paths)
    }

    fn open(&self) -> Result<tar::Archive<MultiGzDecoder<File>>> {
        let path = self.file(".tar.gz");
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(tar::Archive::new(MultiGzDecoder::new(file)))
    }

    /// `velero-backup.json`.
    pub(crate) fn metadata(&self) -> Result<Value> {
        let path = self.folder.join("velero-backup.json");
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// The text of a compressed artifact, such as `-logs.gz`.
    pub(crate) fn text(&self, suffix: &str) -> Result<String> {
        let path = self.file(suffix);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut text = String::new();
        MultiGzDecoder::new(file).read_to_string(&mut text)?;
        Ok(text)
    }

    /// A compressed artifact that is JSON, such as `-results.gz`.
    pub(crate) fn json(&self, suffix: &str) -> Result<Value> {
        serde_json::from_str(&self.text(suffix)?)
            .with_context(|| format!("{} is not JSON", self.file(suffix).display()))
    }

    /// Names of the files, with `*` for the name of the backup.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)
            .with_context(|| format!("cannot read {}", self.folder.display()))?
        {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.push(match name.strip_prefix(&self.name) {
                Some(rest) => format!("*{rest}"),
                None => name,
            });
        }
        names.sort();
        Ok(names)
    }

    /// Path of the file with a suffix, such as `.tar.gz`.
    pub(crate) fn file(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}{suffix}", self.name))
    }
}
