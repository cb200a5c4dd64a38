//! Go programs of ours that use packages of the peer and of Kubernetes, built once.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest, Sha256};

use crate::controlplane::cache_dir;

/// A program, and where its source lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    name: &'static str,
    /// Folder of the module beside `src/`.
    module: &'static str,
    /// Its package in the module.
    package: &'static str,
}

/// Reads a backup with the peer's own code.
pub(crate) const PEER_READS: Program = Program {
    name: "peer-reads",
    module: "go",
    package: "./peer-reads",
};

/// Runs commands as a kubelet does.
pub(crate) const KUBELET: Program = Program {
    name: "kubelet",
    module: "kubelet",
    package: ".",
};

/// Finds a program, or builds it once; a first build takes a few minutes.
///
/// The cache is `velero-rs/go/<hash of the sources>` in `$XDG_CACHE_HOME` or `~/.cache`; a lock file keeps two builds
/// apart.
pub(crate) async fn program(program: Program) -> Result<PathBuf> {
    tokio::task::spawn_blocking(move || find_or_build(program)).await?
}

fn find_or_build(wanted: Program) -> Result<PathBuf> {
    let name = wanted.name;
    let module = crate::workspace::package_folder().join(wanted.module);
    let dir = cache_dir("go")?.join(hash(&module)?);
    let program = dir.join(name);
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(".lock");
    let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    lock.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    if program.is_file() {
        return Ok(program);
    }
    progress(&format!("building {name} (some minutes, once)"));
    let unfinished = dir.join(format!("{name}.unfinished"));
    let status = Command::new("go")
        .args(["build", "-ldflags", "-s -w", "-o"])
        .arg(&unfinished)
        .arg(wanted.package)
        .current_dir(&module)
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .status()
        .context("cannot run go; install Go 1.26")?;
    if !status.success() {
        bail!(
            "go build {} in {} failed: {status}",
            wanted.package,
            module.display()
        );
    }
    fs::rename(&unfinished, &program).context("the build gave no binary")?;
    Ok(program)
}

/// Hash of all sources of a module, in the order of their paths.
fn hash(module: &Path) -> Result<String> {
    let mut files = Vec::new();
    sources(module, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(module).unwrap_or(&file).display();
        hash.update(format!("{name}\0"));
        hash.update(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    let hash = hash.finalize();
    Ok(hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Minutes in silence look like a hang.
#[allow(clippy::print_stderr)]
fn progress(text: &str) {
    eprintln!("go: {text}");
}
