//! The order of things, for each size: load a cluster with the bare POST loop, list it bare, back it up, restore it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use velero_e2e::{AuditLog, Component, ControlPlane, Options, eventually};

use crate::{
    again,
    load::Size,
    machine::Machine,
    measure::{self, Watch},
    operator::{self, Operator, USER_AGENT},
    others::{self, Reader},
    post,
    report::{self, Counted, Row},
    verdict::{self, Measured},
    writes::Writes,
};

const IN_FLIGHT: [usize; 4] = [16, 32, 64, 128];
/// Requests under way of the loops that take turns with restores.
const AGAIN: [usize; 2] = [64, 32];
const PAGES: [usize; 2] = [500, 1000];
const DEADLINE: Duration = Duration::from_secs(1800);
/// How long the controllers may take, and how long they are watched at a time.
const SETTLE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_secs(3);
/// CPU time of the whole control plane, in parts of one processor, below which it is at rest.
const AT_REST: f64 = 0.2;

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
    /// How long another user's GETs take beside the POST loop and beside our restore; only when it is asked for.
    Others,
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How much to measure with; several sizes, with commas between them, are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "15k")]
    size: Vec<Size>,
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
        (self.only.is_empty() && part != Part::Others) || self.only.contains(&part)
    }

    fn options(&self, size: Size) -> Options {
        let base = if size == Size::Mixed {
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

/// Measures, prints the tables, appends the records; returns whether no threshold is broken.
pub(crate) async fn run(args: Args) -> Result<bool> {
    let engines = [Part::Backup, Part::Restore, Part::Others]
        .into_iter()
        .any(|part| args.wants(part));
    if engines && args.velero.is_none() {
        bail!("no velero binary; give its path with --velero, or --only post,list");
    }
    let mut machine = Machine::describe().await;
    println!("{machine}");
    let mut all = Vec::new();
    for size in &args.size {
        let rows = measure_size(&args, *size).await?;
        println!("\n{}", size.name());
        report::print_table(&rows);
        all.push(Measured { size: *size, rows });
    }
    machine.look_again().await;
    let verdicts = verdict::judge(&all);
    // Who asks for a part does not get what the others would have measured.
    let is_part = !args.only.is_empty();
    let mut holds = verdicts.is_empty() || verdict::print(&verdicts, is_part);
    println!("\n{machine}");
    if machine.was_busy() {
        println!(
            "others used this machine: its speeds are too low; memory and calls count all the same"
        );
    }
    if !machine.is_release() {
        println!("not a release build: nothing is held against the thresholds");
        holds = true;
    }
    if !args.no_record {
        let path = velero_e2e::workspace().join("benches/results.jsonl");
        for one in &all {
            let name = one.size.name();
            let own: Vec<_> = verdicts
                .iter()
                .filter(|verdict| verdict.name.starts_with(&format!("{name} ")))
                .cloned()
                .collect();
            report::append(&path, name, args.audit, &machine, &one.rows, &own)?;
        }
    }
    Ok(holds)
}

/// Measures all parts that are wanted, with one size.
async fn measure_size(args: &Args, size: Size) -> Result<Vec<Row>> {
    let stores = tempfile::Builder::new()
        .prefix("velero-benches-")
        .tempdir()?;
    let mut rows = Vec::new();
    let plane = post_loops(args, size, &mut rows).await?;
    if args.wants(Part::List) {
        for page in PAGES {
            rows.push(list_loop(&plane, page)?);
        }
    }
    // A restore needs one backup.
    let restores = args.wants(Part::Restore) || args.wants(Part::Others);
    let backups = match (args.wants(Part::Backup), restores) {
        (true, _) => args.repeat.max(1),
        (false, true) => 1,
        (false, false) => 0,
    };
    for n in 0..backups {
        let row = engine_row(args, &plane, Part::Backup, n, stores.path()).await?;
        if args.wants(Part::Backup) {
            rows.push(row);
        }
    }
    plane.stop().await;
    if args.wants(Part::Restore) {
        for n in 0..args.repeat.max(1) {
            let plane = ControlPlane::start(args.options(size)).await?;
            rows.push(engine_row(args, &plane, Part::Restore, n, stores.path()).await?);
            plane.stop().await;
            if args.wants(Part::Post) {
                rows.push(loop_again(args, size, n, stores.path()).await?);
            }
        }
    }
    if args.wants(Part::Others) {
        others_rows(args, size, stores.path(), &mut rows).await?;
    }
    Ok(rows)
}

/// Another user's GETs beside a restore and then beside the POST loop at the rate of that restore, by turns; on an idle cluster
/// and then beside a restore whose user the API server gives one seat, by turns; and beside a POST loop of one call at a
/// time, which is the least that a writer can do. Each writer gets a fresh cluster.
async fn others_rows(args: &Args, size: Size, store: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let most = IN_FLIGHT[IN_FLIGHT.len() - 1].to_string();
    for n in 0..args.repeat.max(1) {
        let name = format!("others-{n}");
        let rate = beside_restore(args, size, store, &name, rows).await?;
        let at_rate = ["--in-flight", &most, "--rate", &rate.to_string()];
        beside_loop(args, size, others::BESIDE_LOOP, &at_rate, rows).await?;
    }
    for n in 0..args.repeat.max(1) {
        beside_nobody(args, size, rows).await?;
        let name = format!("{}-{n}", others::ONE_SEAT);
        beside_restore(args, size, store, &name, rows).await?;
    }
    beside_loop(args, size, others::BESIDE_ONE, &["--in-flight", "1"], rows).await?;
    Ok(())
}

/// GETs on an idle cluster.
async fn beside_nobody(args: &Args, size: Size, rows: &mut Vec<Row>) -> Result<()> {
    let plane = ControlPlane::start(args.options(size)).await?;
    let reader = Reader::begin(&plane).await?;
    tokio::time::sleep(others::IDLE).await;
    rows.push(reader.end(others::ALONE, None).await?);
    plane.stop().await;
    Ok(())
}

/// GETs beside a restore; gives its objects a second. Those whose names begin with [`others::ONE_SEAT`] are those of a
/// user with one seat.
async fn beside_restore(
    args: &Args,
    size: Size,
    store: &Path,
    name: &str,
    rows: &mut Vec<Row>,
) -> Result<f64> {
    let velero = args.velero.as_deref().context("no velero binary")?;
    let (plane, log) = audited(args, size).await?;
    let (kubeconfig, variant) = if name.starts_with(others::ONE_SEAT) {
        (others::narrow(&plane).await?, others::BESIDE_ONE_SEAT)
    } else {
        (plane.kubeconfig().to_owned(), others::BESIDE_RESTORE)
    };
    let operator = Operator::start_as(velero, &plane, store, &kubeconfig).await?;
    let reader = Reader::begin(&plane).await?;
    let log = log.from_now()?;
    operator.restore(&backup_name(0), name).await?;
    let writes = Writes::of(&log, USER_AGENT)?;
    rows.push(reader.end(variant, Some(&writes)).await?);
    operator.stop().await?;
    plane.stop().await;
    Ok(writes.rate())
}

/// GETs beside the POST loop with these arguments.
async fn beside_loop(
    args: &Args,
    size: Size,
    variant: &str,
    with: &[&str],
    rows: &mut Vec<Row>,
) -> Result<()> {
    let (plane, log) = audited(args, size).await?;
    size.prepare(&plane.client().await?).await?;
    let mut command = child("post", &plane)?;
    command.args(["--size", size.name()]).args(with);
    let reader = Reader::begin(&plane).await?;
    let log = log.from_now()?;
    tokio::task::block_in_place(|| measure::run(&mut command, DEADLINE))?;
    let writes = Writes::of(&log, post::USER_AGENT)?;
    rows.push(reader.end(variant, Some(&writes)).await?);
    plane.stop().await;
    Ok(())
}

/// A cluster with an audit log, by which the window of the writes is known.
async fn audited(args: &Args, size: Size) -> Result<(ControlPlane, AuditLog)> {
    let options = Options {
        audit: true,
        ..args.options(size)
    };
    let plane = ControlPlane::start(options).await?;
    let log = plane.audit().context("there is no audit log")?;
    Ok((plane, log))
}

/// Each number in flight gets a fresh cluster; the last one stays, loaded, for what follows.
async fn post_loops(args: &Args, size: Size, rows: &mut Vec<Row>) -> Result<ControlPlane> {
    let measured = args.wants(Part::Post);
    let tries = match (measured, size) {
        (true, Size::Mixed) => &IN_FLIGHT[1..3],
        (true, _) => &IN_FLIGHT[..],
        (false, _) => &IN_FLIGHT[1..2],
    };
    let mut kept: Option<ControlPlane> = None;
    for in_flight in tries {
        if let Some(plane) = kept.take() {
            plane.stop().await;
        }
        let plane = ControlPlane::start(args.options(size)).await?;
        size.prepare(&plane.client().await?).await?;
        let mut command = child("post", &plane)?;
        command.args(["--size", size.name(), "--in-flight", &in_flight.to_string()]);
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
    settle(&plane, size).await?;
    Ok(plane)
}

/// Waits until the controllers have made their objects and have nothing left to do, so that the runs that follow see the
/// same cluster and do not share the processors with them.
async fn settle(plane: &ControlPlane, size: Size) -> Result<()> {
    if size.pods() == 0 {
        return Ok(());
    }
    let pods: Api<Pod> = Api::all(plane.client().await?);
    eventually("as many pods run as the load asks for", SETTLE, || async {
        let list = pods
            .list_metadata(&ListParams::default().fields("status.phase=Running"))
            .await?;
        Ok((list.items.len() >= size.pods()).then_some(()))
    })
    .await?;
    let end = Instant::now() + SETTLE;
    loop {
        let watches = Component::ALL
            .into_iter()
            .filter_map(|component| plane.pid(component))
            .map(Watch::begin)
            .collect::<Result<Vec<_>>>()?;
        tokio::time::sleep(LOOK).await;
        let mut used = Duration::ZERO;
        for watch in &watches {
            used += watch.end()?.cpu;
        }
        if used.as_secs_f64() < AT_REST * LOOK.as_secs_f64() {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "the controllers do not come to rest within {SETTLE:?}: {used:?} in the last {LOOK:?}"
        );
    }
}

/// The POST loop over what a restore has just created, in a cluster as fresh as that of the restore. The two take turns, as a
/// machine may be faster at one time than at another.
async fn loop_again(args: &Args, size: Size, n: usize, store: &Path) -> Result<Row> {
    let plane = ControlPlane::start(args.options(size)).await?;
    let mut command = child("post-again", &plane)?;
    let name = backup_name(n);
    let in_flight = AGAIN[n % AGAIN.len()];
    command.args(["--in-flight", &in_flight.to_string()]);
    command
        .arg("--archive")
        .arg(operator::archive(store, &backup_name(0)))
        .arg("--list")
        .arg(operator::resource_list(store, &name));
    let variant = format!("run {}, {in_flight} in flight", n + 1);
    let row = loop_row(&plane, again::PART, variant, &mut command)?;
    plane.stop().await;
    Ok(row)
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
