//! Starting `cargo`, and where it puts what it built.

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitStatus},
};

use anyhow::{Context, Result, bail};

/// Which profile a binary is built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// What is shipped and measured.
    Release,
}

impl Profile {
    /// `Release` when the flag is set.
    pub(crate) fn release(flag: bool) -> Self {
        if flag { Self::Release } else { Self::Dev }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Root of the checkout that this was started in.
///
/// What was built in one checkout may run in another: checkouts can share what cargo has built.
pub(crate) fn workspace() -> PathBuf {
    let package =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).join("..")
}

/// A command that starts a program of ours, which is told where its checkout is.
pub(crate) fn runner(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.env("VELERO_WORKSPACE", workspace());
    command
}

/// A package of the workspace, and the binary in it.
pub(crate) type Binary = (&'static str, &'static str);

/// Builds binaries of the workspace and returns where they are.
///
/// At once: one by one, what they share would be built again for each with a different set of features.
pub(crate) fn build<const N: usize>(
    binaries: [Binary; N],
    profile: Profile,
) -> Result<[PathBuf; N]> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet"]);
    for (package, binary) in binaries {
        command.args(["--package", package, "--bin", binary]);
    }
    if profile == Profile::Release {
        command.arg("--release");
    }
    check(&mut command)?;
    let folder = target_dir()?.join(profile.folder());
    let paths =
        binaries.map(|(_, binary)| folder.join(format!("{binary}{}", env::consts::EXE_SUFFIX)));
    if let Some(missing) = paths.iter().find(|path| !path.is_file()) {
        bail!("cargo has built, but {} is not there", missing.display());
    }
    Ok(paths)
}

/// Runs a command and returns its exit status; the command shares our terminal.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    command
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))
}

/// Ends this process with the exit code of the command when it fails.
pub(crate) fn run_or_exit(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        std::process::exit(status.code().unwrap_or(1));
    }
    Ok(())
}

fn check(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// This program lies in `<target>/<profile>/`, whatever the target folder is.
fn target_dir() -> Result<PathBuf> {
    let exe = env::current_exe().context("cannot find my own path")?;
    exe.ancestors()
        .nth(2)
        .map(PathBuf::from)
        .with_context(|| format!("{} is not in a target folder", exe.display()))
}
