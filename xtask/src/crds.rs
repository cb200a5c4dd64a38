//! `cargo xtask crds`: the CustomResourceDefinitions as files.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::cargo;

/// Arguments of `cargo xtask crds`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only compare the files with what would be written, and fail if they differ.
    #[arg(long)]
    check: bool,
}

/// Writes `velero-core/crds/`, one file a kind, or compares it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let folder = cargo::workspace().join("velero-core/crds");
    let wanted = files(&print()?)?;
    let present = present(&folder)?;
    let mut stale: Vec<&PathBuf> = wanted
        .keys()
        .chain(present.keys())
        .filter(|name| wanted.get(*name) != present.get(*name))
        .collect();
    stale.sort();
    stale.dedup();
    if args.check && !stale.is_empty() {
        bail!("not up to date: {stale:?}; run `cargo xtask crds`");
    }
    for name in stale {
        let path = folder.join(name);
        match wanted.get(name) {
            Some(text) => fs::write(&path, text),
            None => fs::remove_file(&path),
        }
        .with_context(|| format!("cannot change {}", path.display()))?;
        println!("{}", name.display());
    }
    Ok(())
}

/// The YAML documents as the library tells them.
fn print() -> Result<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--package",
            "velero-core",
            "--example",
            "crds",
        ])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the example crds of velero-core failed: {}", output.status);
    }
    String::from_utf8(output.stdout).context("the example crds of velero-core did not print text")
}

/// Splits the documents, and names each file after the definition in it.
fn files(documents: &str) -> Result<BTreeMap<PathBuf, String>> {
    documents
        .split("---\n")
        .filter(|document| !document.trim().is_empty())
        .map(|document| {
            let name = document
                .lines()
                .find_map(|line| line.strip_prefix("  name: "))
                .context("a definition has no name")?;
            Ok((PathBuf::from(format!("{name}.yaml")), document.to_owned()))
        })
        .collect()
}

fn present(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
    fs::create_dir_all(folder)?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(PathBuf::from).unwrap_or_default();
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.insert(name, text);
    }
    Ok(files)
}
