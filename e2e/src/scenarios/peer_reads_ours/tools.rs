//! The tools that everybody has read our files: gzip and tar.

use std::ffi::OsStr;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::{archive::Archive, site::SOON};

/// `gzip -t` of every packed file.
pub(super) async fn unpack(archive: &Archive) -> Result<()> {
    for suffix in archive.files()? {
        if suffix.ends_with(".gz") {
            let path = archive.file(suffix.trim_start_matches('*'));
            run("gzip", &["-t".as_ref(), path.as_os_str()]).await?;
        }
    }
    Ok(())
}

/// `tar tzf` of the archive, which has to name all its entries.
pub(super) async fn list(archive: &Archive) -> Result<()> {
    let path = archive.file(".tar.gz");
    let listed = run("tar", &["tzf".as_ref(), path.as_os_str()]).await?;
    let listed: Vec<&str> = listed.lines().collect();
    let paths = archive.paths()?;
    ensure!(listed == paths, "tar lists {listed:?}, not {paths:?}");
    Ok(())
}

/// Runs a tool that must succeed and have nothing to complain of; gives what it prints.
async fn run(program: &str, args: &[&OsStr]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SOON, output)
        .await?
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{program} {args:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
