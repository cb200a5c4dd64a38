//! The order of things: load a cluster with the bare POST loop, list it bare, back it up, restore it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use velero_e2e::{AuditLog, Component, ControlPlane, Options, eventually};

use crate::{
    load::Size,
    machine::Machine,
    measure::{self, Watch},
    operator::{Operator, USER_AGENT},
    report::{self, Counted, Row},
};

const IN_FLIGHT: [usize; 4] = [16, 32, 64, 128];
const PAGES: [usize; 2] = [500, 1000];
const DEADLINE: Duration = Duration::from_secs(1800);

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The bare POST loop.
    Post,
    /// The bare LIST, tar and gzip loop.
    List,
    /// Our backup.
    Backup,
    /// Our restore; takes a backup first.
    Restore,
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How much to measure with.
    #[arg(long, default_value = "15k")]
    size: Size,
    /// Parts to run; all when absent.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Path of the `velero` binary; needed for `backup` and `restore`.
    #[arg(long)]
    velero: Option<PathBuf>,
    /// Runs of each engine; the fastest counts.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Keep an audit log, to count the calls an object; costs the API server some throughput.
    #[arg(long)]
    audit: bool,
    /// Do not append to `benches/results.jsonl`.
    #[arg(long)]
    no_record: bool,
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn options(&self) -> Options {
        let base = if self.size == Size::Mixed {
            Options::default()
        } else {
            Options::bare()
        };
        Options {
            audit: self.audit,
            ..base
        }
    }
}

/// Measures, prints the table, appends the record.
pub(crate) async fn run(args: Args) -> Result<()> {
    let machine = Machine::describe();
    let stores = tempfile::Builder::new()
        .prefix("velero-benches-")
        .tempdir()?;
    let engines = args.wants(Part::Backup) || args.wants(Part::Restore);
    if engines && args.velero.is_none() {
        bail!("no velero binary; give its path with --velero, or --only post,list");
    }
    let mut rows = Vec::new();
    let plane = post_loops(&args, &mut rows).await?;
    if args.wants(Part::List) {
        for page in PAGES {
            rows.push(list_loop(&plane, page)?);
        }
    }
    if engines {
        // A restore needs one backup.
        let backups = if args.wants(Part::Backup) {
            args.repeat.max(1)
        } else {
            1
        };
        for n in 0..backups {
            let row = engine_row(&args, &plane, Part::Backup, n, stores.path()).await?;
            if args.wants(Part::Backup) {
                rows.push(row);
            }
        }
    }
    plane.stop().await;
    if args.wants(Part::Restore) {
        for n in 0..args.repeat.max(1) {
            let plane = ControlPlane::start(args.options()).await?;
            rows.push(engine_row(&args, &plane, Part::Restore, n, stores.path()).await?);
            plane.stop().await;
        }
    }
    report::print_table(&rows);
    if !args.no_record {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("results.jsonl");
        report::append(&path, args.size.name(), args.audit, &machine, &rows)?;
    }
    Ok(())
}

/// Each number in flight gets a fresh cluster; the last one stays, loaded, for what follows.
async fn post_loops(args: &Args, rows: &mut Vec<Row>) -> Result<ControlPlane> {
    let measured = args.wants(Part::Post);
    let tries: &[usize] = if measured {
        &IN_FLIGHT
    } else {
        &IN_FLIGHT[1..2]
    };
    let mut kept: Option<ControlPlane> = None;
    for in_flight in tries {
        if let Some(plane) = kept.take() {
            plane.stop().await;
        }
        let plane = ControlPlane::start(args.options()).await?;
        args.size.prepare(&plane.client().await?).await?;
        let mut command = child("post", &plane)?;
        command.args([
            "--size",
            args.size.name(),
            "--in-flight",
            &in_flight.to_string(),
        ]);
        let row = loop_row(
            &plane,
            "post",
            format!("{in_flight} in flight"),
            &mut command,
        )?;
        if measured {
            rows.push(row);
        }
        kept = Some(plane);
    }
    let plane = kept.context("nothing was tried")?;
    settle(&plane, args.size).await?;
    Ok(plane)
}

/// Waits until the controllers have made their objects, so that the runs that follow see the same cluster.
async fn settle(plane: &ControlPlane, size: Size) -> Result<()> {
    if size != Size::Mixed {
        return Ok(());
    }
    let pods: Api<Pod> = Api::all(plane.client().await?);
    eventually(
        "as many pods run as the load asks for",
        Duration::from_secs(300),
        || async {
            let list = pods
                .list_metadata(&ListParams::default().fields("status.phase=Running"))
                .await?;
            Ok((list.items.len() >= size.pods()).then_some(()))
        },
    )
    .await
}

fn list_loop(plane: &ControlPlane, page: usize) -> Result<Row> {
    let mut command = child("list", plane)?;
    command.args(["--page", &page.to_string()]);
    loop_row(plane, "list", format!("pages of {page}"), &mut command)
}

/// This binary again, for a process of its own.
fn child(subcommand: &str, plane: &ControlPlane) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find my own path")?);
    command
        .arg(subcommand)
        .arg("--kubeconfig")
        .arg(plane.kubeconfig());
    Ok(command)
}

fn loop_row(
    plane: &ControlPlane,
    part: &'static str,
    variant: String,
    command: &mut Command,
) -> Result<Row> {
    let watch = server(plane)?;
    let (usage, text) = tokio::task::block_in_place(|| measure::run(command, DEADLINE))?;
    let counted = Counted::parse(&text)?;
    let time = Duration::from_secs_f64(counted.seconds);
    Ok(Row::new(
        part,
        variant,
        counted.objects,
        time,
        usage,
        watch.end()?,
    ))
}

/// One run of an engine, in a server that has done nothing before.
async fn engine_row(
    args: &Args,
    plane: &ControlPlane,
    part: Part,
    n: usize,
    store: &Path,
) -> Result<Row> {
    let velero = args.velero.as_deref().context("no velero binary")?;
    ensure!(velero.is_file(), "{} is not a file", velero.display());
    let operator = Operator::start(velero, plane, store).await?;
    let log = plane.audit().as_ref().map(AuditLog::from_now).transpose()?;
    let watch = server(plane)?;
    let (name, (usage, objects)) = match part {
        Part::Restore => (
            "restore",
            operator.restore(&backup_name(0), &backup_name(n)).await?,
        ),
        _ => ("backup", operator.backup(&backup_name(n)).await?),
    };
    let mut row = Row::new(
        name,
        format!("run {}", n + 1),
        objects,
        usage.wall,
        usage,
        watch.end()?,
    );
    if let Some(log) = log {
        row.calls_per_object = Some(log.calls_an_object(USER_AGENT, objects)?);
    }
    operator.stop().await?;
    Ok(row)
}

fn backup_name(n: usize) -> String {
    format!("bench-{n}")
}

fn server(plane: &ControlPlane) -> Result<Watch> {
    Watch::begin(
        plane
            .pid(Component::ApiServer)
            .context("the API server does not run")?,
    )
}
