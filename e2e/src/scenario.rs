//! Named scenarios, and running them.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    pin::Pin,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::FutureExt;
use tempfile::TempDir;

use crate::{ControlPlane, Options, Velero};

/// What a scenario gets: the binary under test, a folder of its own, a seed.
#[derive(Debug)]
pub struct Context {
    options: RunOptions,
    scratch: TempDir,
}

/// How scenarios run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The `velero` binary under test.
    pub velero: Option<PathBuf>,
    /// Seed of all random choices.
    pub seed: u64,
    /// Leave folders behind for a look. Default: false.
    pub keep: bool,
    /// Only the scenarios of the gate, in their short form. Default: false.
    pub smoke: bool,
    /// The parts to run of a scenario that has parts. Default: none are named, which means all.
    pub parts: Vec<String>,
}

impl Context {
    /// Path of the `velero` binary under test.
    pub fn velero(&self) -> Result<&Path> {
        self.options
            .velero
            .as_deref()
            .context("no velero binary; give its path with --velero")
    }

    /// A folder that is removed after the scenario.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Seed of all random choices; a failed run is repeated with the same one.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.options.seed
    }

    /// Whether folders stay for a look afterwards.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.options.keep
    }

    /// Whether to be short: few kill points, small loads.
    #[must_use]
    pub fn is_smoke(&self) -> bool {
        self.options.smoke
    }

    /// The parts that were asked for by name; empty where all are.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.options.parts
    }

    /// Starts a control plane; `--keep` of the command line keeps its folder.
    pub async fn control_plane(&self, options: Options) -> Result<ControlPlane> {
        let keep = options.keep || self.options.keep;
        ControlPlane::start(Options { keep, ..options }).await
    }

    /// The command line of `velero` against a control plane, with a home folder of its own.
    pub fn cli(&self, plane: &ControlPlane) -> Result<Velero> {
        Ok(Velero::new(
            self.velero()?,
            plane.kubeconfig(),
            self.scratch(),
        ))
    }
}

/// What a scenario returns while it runs.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One named scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Name on the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// Whether the gate runs it too.
    pub smoke: bool,
    /// When it counts as hung.
    pub deadline: Duration,
    /// The scenario itself.
    pub run: for<'a> fn(&'a Context) -> Running<'a>,
}

/// Wraps an `async fn(&Context) -> anyhow::Result<()>` for the registry.
macro_rules! scenario {
    ($name:literal, $about:literal, smoke: $smoke:literal, minutes: $minutes:literal, $function:path) => {
        $crate::scenario::Scenario {
            name: $name,
            about: $about,
            smoke: $smoke,
            deadline: std::time::Duration::from_secs($minutes * 60),
            run: |cx| Box::pin($function(cx)),
        }
    };
}
pub(crate) use scenario;

/// How a run of scenarios went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Scenarios that held.
    pub passed: usize,
    /// Scenarios that did not.
    pub failed: usize,
}

/// Runs scenarios one after the other and prints name, result and time of each to standard output.
///
/// A failure, a panic and a missed deadline all count as failed; the rest still runs.
#[allow(clippy::print_stdout)]
pub async fn run_scenarios(scenarios: &[Scenario], options: &RunOptions) -> Result<Summary> {
    let mut summary = Summary::default();
    println!("seed {}", options.seed);
    for scenario in scenarios {
        let scratch = tempfile::Builder::new()
            .prefix("velero-e2e-scratch-")
            .tempdir()?;
        let cx = Context {
            options: options.clone(),
            scratch,
        };
        println!("{} ...", scenario.name);
        let start = Instant::now();
        let result = run_one(scenario, &cx).await;
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                summary.passed += 1;
                println!("{} ok ({seconds:.1} s)", scenario.name);
            }
            Err(err) => {
                summary.failed += 1;
                println!("{} FAILED ({seconds:.1} s): {err:#}", scenario.name);
                if options.keep {
                    println!("kept: {}", cx.scratch.keep().display());
                }
            }
        }
    }
    println!("{} passed, {} failed", summary.passed, summary.failed);
    Ok(summary)
}

async fn run_one(scenario: &Scenario, cx: &Context) -> Result<()> {
    let run = AssertUnwindSafe((scenario.run)(cx)).catch_unwind();
    match tokio::time::timeout(scenario.deadline, run).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            bail!("panicked: {}", text.unwrap_or("(no text)"))
        }
        Err(_) => bail!("not done within {:?}", scenario.deadline),
    }
}
