//! The files that a restore leaves in a bucket beside its log: pure functions, for whoever stores them.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use serde::Serialize;
use velero_core::artifact::{RestoreItemOperation, RestoreVolumeInfo};
use velero_core::result::ResultsFile;

use crate::RestoreResult;

/// One file, by its key below `restores/<restore>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// File name, such as `restore-r1-results.gz`.
    pub name: String,
    /// Content, compressed.
    pub bytes: Vec<u8>,
}

/// Makes all files of a restore but its log: results, resource list, item operations and volume information.
///
/// # Errors
/// When the content cannot be written as JSON, which a sound result never causes.
pub fn all(restore: &str, result: &RestoreResult) -> io::Result<Vec<Artifact>> {
    Ok(vec![
        Artifact {
            name: format!("restore-{restore}-results.gz"),
            bytes: results(result)?,
        },
        Artifact {
            name: format!("restore-{restore}-resource-list.json.gz"),
            bytes: resource_list(result)?,
        },
        Artifact {
            name: format!("restore-{restore}-itemoperations.json.gz"),
            bytes: item_operations(&result.operations)?,
        },
        Artifact {
            name: format!("{restore}-volumeinfo.json.gz"),
            bytes: volume_info(&result.volumes)?,
        },
    ])
}

/// The content of `restore-<restore>-results.gz`: warnings and errors by scope.
///
/// # Errors
/// As [`all`].
pub fn results(result: &RestoreResult) -> io::Result<Vec<u8>> {
    results_file(&ResultsFile::from_records(&result.records))
}

/// As [`results`], for warnings and errors that have been added to.
///
/// # Errors
/// As [`all`].
pub fn results_file(results: &ResultsFile) -> io::Result<Vec<u8>> {
    gzip(results)
}

/// The content of `restore-<restore>-resource-list.json.gz`.
///
/// # Errors
/// As [`all`].
pub fn resource_list(result: &RestoreResult) -> io::Result<Vec<u8>> {
    gzip(&result.resource_list)
}

/// The content of `restore-<restore>-itemoperations.json.gz`.
///
/// # Errors
/// As [`all`].
pub fn item_operations(operations: &[RestoreItemOperation]) -> io::Result<Vec<u8>> {
    gzip(&operations)
}

/// The content of `<restore>-volumeinfo.json.gz`.
///
/// # Errors
/// As [`all`].
pub fn volume_info(infos: &[RestoreVolumeInfo]) -> io::Result<Vec<u8>> {
    gzip(&infos)
}

/// Compact JSON with a newline at its end, compressed.
fn gzip(content: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut encoder, content)?;
    encoder.write_all(b"\n")?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use velero_core::result::{Record, Severity};

    #[test]
    fn files_have_the_names_and_forms_that_readers_expect() {
        let mut result = RestoreResult::default();
        result.records.push(Record::item(
            Severity::Warning,
            "pods",
            "shop",
            "web",
            "differs",
        ));
        result.resource_list.add("v1/Pod", "shop/web(failed)");
        let files: Vec<(String, String)> = all("r1", &result)
            .unwrap()
            .into_iter()
            .map(|file| {
                let mut text = String::new();
                flate2::read::GzDecoder::new(file.bytes.as_slice())
                    .read_to_string(&mut text)
                    .unwrap();
                (file.name, text)
            })
            .collect();
        let expected = [
            (
                "restore-r1-results.gz",
                "{\"errors\":{},\"warnings\":{\"namespaces\":{\"shop\":[\" resource: /pods name: /web message: /differs\"]}}}\n",
            ),
            (
                "restore-r1-resource-list.json.gz",
                "{\"v1/Pod\":[\"shop/web(failed)\"]}\n",
            ),
            ("restore-r1-itemoperations.json.gz", "[]\n"),
            ("r1-volumeinfo.json.gz", "[]\n"),
        ];
        assert_eq!(
            files,
            expected.map(|(name, text)| (name.to_owned(), text.to_owned()))
        );
    }
}
