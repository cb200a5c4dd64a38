//! What the peer has written: its bucket, and the states of clusters that it restored.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The file or folder `path` among those that the peer has made.
pub(crate) fn fixture(path: &str) -> PathBuf {
    crate::workspace::package_folder()
        .join("../velero-testkit/fixtures/demo")
        .join(path)
}

/// Copies the peer's bucket to the folder of a bucket.
pub(crate) fn fill(bucket: &Path) -> Result<()> {
    copy(&fixture("bucket"), bucket)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// The objects of a state that was written down.
pub(crate) fn objects(file: &str) -> Result<Vec<Value>> {
    let path = fixture(file);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let objects: std::collections::BTreeMap<String, Value> = serde_json::from_slice(&bytes)?;
    Ok(objects.into_values().collect())
}

/// Puts placeholders in the place of uids, wherever they occur: the peer's states were written without the uids that
/// would tell whose they are.
pub(crate) fn without_uids(value: &mut Value) {
    match value {
        Value::String(text) => *text = placeholders(text),
        Value::Array(all) => all.iter_mut().for_each(without_uids),
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(key, mut value)| {
                    without_uids(&mut value);
                    (placeholders(&key), value)
                })
                .collect();
        }
        _ => {}
    }
}

/// `text` with `<uid>` for each uid.
pub(crate) fn placeholders(text: &str) -> String {
    const UID: usize = 36;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.get(..UID).is_some_and(is_uid) {
            out.push_str("<uid>");
            rest = &rest[UID..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn is_uid(text: &str) -> bool {
    text.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}
