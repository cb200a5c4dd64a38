//! The binaries: taken from `KUBEBUILDER_ASSETS`, from the cache, or built from their Go modules.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Variable that names a folder with ready binaries; nothing is built then.
const VARIABLE: &str = "KUBEBUILDER_ASSETS";
/// Version that the binaries report; without it they call themselves v0.0.0 and clients misbehave.
const VERSION: &str = "v1.36.3";
const DONE: &str = ".complete";
const STAGES: &str = "stages";

/// Stage files of the kwok module, relative to `kustomize/stage/`.
const STAGE_FILES: [&str; 9] = [
    "node/fast/node-initialize.yaml",
    "node/heartbeat/node-heartbeat.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
    "volume/fast/pv-bind.yaml",
    "volume/fast/pv-delete.yaml",
    "volume/fast/pvc-delete.yaml",
    "volume/fast/pvc-provision.yaml",
];

/// Where the binaries of a control plane are.
#[derive(Debug, Clone)]
pub struct Assets {
    dir: PathBuf,
    given: bool,
}

impl Assets {
    /// Finds the binaries, or builds them once; blocks, a first build takes about 10 minutes.
    ///
    /// `KUBEBUILDER_ASSETS` wins. The cache is `velero-rs/controlplane/<hash of go.sum>` in
    /// `$XDG_CACHE_HOME` or `~/.cache`; a lock file keeps two builds apart. Progress goes to stderr.
    pub fn find_or_build() -> Result<Self> {
        if let Some(dir) = env::var_os(VARIABLE).filter(|dir| !dir.is_empty()) {
            return Ok(Self {
                dir: dir.into(),
                given: true,
            });
        }
        let modules = crate::workspace::package_folder();
        let dir = cache_dir("controlplane")?.join(hash_of_sums(&modules)?);
        let assets = Self { dir, given: false };
        if !assets.dir.join(DONE).is_file() {
            assets.build(&modules)?;
        }
        Ok(assets)
    }

    /// Folder of the binaries.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of one binary, for example `kube-apiserver` or `kubectl`.
    pub fn binary(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        if path.is_file() {
            return Ok(path);
        }
        if self.given {
            bail!(
                "{VARIABLE}={} has no {name}; add it, or unset {VARIABLE} to have all binaries built",
                self.dir.display()
            );
        }
        bail!(
            "{} is missing; remove {} to have it built again",
            path.display(),
            self.dir.display()
        );
    }

    /// All stage files that kwok needs, as one YAML text.
    pub(super) fn kwok_stages(&self) -> Result<String> {
        let dir = self.dir.join(STAGES);
        if !dir.is_dir() {
            if self.given {
                bail!(
                    "{} is missing; copy the stage files of the kwok module there",
                    dir.display()
                );
            }
            copy_stages(&dir)?;
        }
        let mut all = String::new();
        for file in STAGE_FILES {
            let path = dir.join(flat(file));
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            all.push_str(text.trim_end());
            all.push_str("\n---\n");
        }
        Ok(all)
    }

    fn build(&self, modules: &Path) -> Result<()> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        let path = self.dir.join(".lock");
        let lock =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        lock.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
        if self.dir.join(DONE).is_file() {
            return Ok(());
        }
        progress(&format!(
            "building etcd, Kubernetes {VERSION} and kwok into {} (about 10 minutes, once)",
            self.dir.display()
        ));
        let version = format!(
            "-s -w -X k8s.io/component-base/version.gitVersion={VERSION} \
             -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor={}",
            VERSION.split('.').nth(1).unwrap_or_default()
        );
        self.install(&modules.join("controlplane"), &version)?;
        self.install(&modules.join("kwok"), "-s -w")?;
        // The main package of etcd lies in a folder called "server".
        fs::rename(self.dir.join("server"), self.dir.join("etcd"))
            .context("the build of etcd gave no binary")?;
        copy_stages(&self.dir.join(STAGES))?;
        File::create(self.dir.join(DONE)).context("cannot mark the build as complete")?;
        progress("built");
        Ok(())
    }

    fn install(&self, module: &Path, ldflags: &str) -> Result<()> {
        let status = Command::new("go")
            .args(["install", "-ldflags", ldflags, "tool"])
            .current_dir(module)
            .env("GOBIN", &self.dir)
            .env("CGO_ENABLED", "0")
            .stdin(Stdio::null())
            .status()
            .with_context(|| {
                format!(
                    "cannot run go; install Go 1.26 or set {VARIABLE} to a folder with the binaries"
                )
            })?;
        if !status.success() {
            bail!("go install in {} failed: {status}", module.display());
        }
        Ok(())
    }
}

fn copy_stages(to: &Path) -> Result<()> {
    let module = crate::workspace::package_folder().join("kwok");
    let output = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"])
        .current_dir(&module)
        .output()
        .context("cannot run go to find the kwok module")?;
    let dir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || dir.is_empty() {
        bail!(
            "go list in {} failed: {}",
            module.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let building = to.with_extension(format!("building-{}", std::process::id()));
    fs::create_dir_all(&building)
        .with_context(|| format!("cannot create {}", building.display()))?;
    for file in STAGE_FILES {
        let from = Path::new(&dir).join("kustomize/stage").join(file);
        let text = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        fs::write(building.join(flat(file)), text)
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    match fs::rename(&building, to) {
        Ok(()) => Ok(()),
        // Another process was faster; what it copied is the same.
        Err(_) if to.is_dir() => fs::remove_dir_all(&building).context("cannot clean up"),
        Err(err) => Err(err).with_context(|| format!("cannot create {}", to.display())),
    }
}

fn flat(file: &str) -> String {
    file.replace('/', "-")
}

/// Folder of one kind of binaries in the user's cache.
pub(crate) fn cache_dir(kind: &str) -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => env::home_dir()
            .context("no home folder; set XDG_CACHE_HOME")?
            .join(".cache"),
    };
    Ok(base.join("velero-rs").join(kind))
}

fn hash_of_sums(modules: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for module in ["controlplane", "kwok"] {
        let path = modules.join(module).join("go.sum");
        hash.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// The one place that speaks: a build of ten minutes in silence looks like a hang.
#[allow(clippy::print_stderr)]
fn progress(text: &str) {
    eprintln!("control plane: {text}");
}
