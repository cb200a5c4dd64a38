//! What the engines have to reach, and whether they do.

use serde::Serialize;

use crate::{
    again,
    load::Size,
    others,
    report::{Row, fastest, limit},
};

/// A bound that a size and an engine are held to.
struct Threshold {
    size: Size,
    part: &'static str,
    what: What,
    bound: f64,
}

/// What is bounded. Speed and CPU time are those of the best run, memory and calls those of the worst.
#[derive(Clone, Copy)]
enum What {
    /// Objects a second as a share of the bare loop's that took turns with it, at least: the median over the turns. Where
    /// none did, of the fastest run that of the fastest loop.
    Share,
    /// Time an object as a multiple of the fastest bare loop's, at most.
    Times,
    /// Objects a second, at least.
    Rate,
    /// CPU time an object in ms, at most.
    Cpu,
    /// CPU time an object as a multiple of a bare loop's, at most: what holds on machines of any speed.
    CpuTimes(&'static str),
    /// Peak memory in MiB, at most.
    Memory,
    /// Peak memory as a multiple of that with another size, at most.
    Growth(Size),
    /// API calls an object, at most; needs the audit log.
    Calls,
    /// The 99th percentile of another user's GETs in one case as a multiple of that in another, at most; of several runs of a
    /// case the median counts. By as much as the other case differs from itself it may be more.
    Waits(&'static str, &'static str),
    /// As `Waits`, but where even writing one object after another, the third case, goes beyond the bound, that is the bound:
    /// nobody who writes at all can do with less.
    WaitsAtLeast(&'static str, &'static str, &'static str),
}

/// Most noise that excuses anything: on a machine that others use everything would hold.
const MOST_NOISE: f64 = 0.25;

const fn must(size: Size, part: &'static str, what: What, bound: f64) -> Threshold {
    Threshold {
        size,
        part,
        what,
        bound,
    }
}

const THRESHOLDS: [Threshold; 19] = [
    must(Size::Medium, "restore", What::Share, 0.75),
    must(Size::Medium, "restore", What::Calls, 1.02),
    must(Size::Medium, "restore", What::CpuTimes("post"), 3.0),
    must(Size::Medium, "restore", What::Memory, 48.0),
    must(Size::Mixed, "restore", What::Share, 0.6),
    must(Size::Mixed, "restore", What::Calls, 1.25),
    must(Size::Large, "restore", What::Memory, 64.0),
    must(
        Size::Medium,
        others::PART,
        What::Waits(others::BESIDE_RESTORE, others::BESIDE_LOOP),
        1.0,
    ),
    must(
        Size::Medium,
        others::PART,
        What::WaitsAtLeast(others::BESIDE_ONE_SEAT, others::ALONE, others::BESIDE_ONE),
        2.0,
    ),
    must(Size::Large, "backup", What::Times, 1.5),
    must(Size::Large, "backup", What::Cpu, 0.08),
    must(Size::Large, "backup", What::Memory, 48.0),
    must(Size::Large, "backup", What::Growth(Size::Ten), 1.2),
    must(Size::Huge, "backup", What::Memory, 48.0),
    must(Size::Huge, "backup", What::Growth(Size::Large), 1.2),
    must(Size::Big, "backup", What::Memory, 48.0),
    must(Size::Crds, "backup", What::Memory, 48.0),
    must(Size::Mixed, "backup", What::Rate, 10_000.0),
    must(Size::Mixed, "backup", What::Memory, 64.0),
];

/// All rows of one size.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) size: Size,
    pub(crate) rows: Vec<Row>,
}

/// One threshold, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// What is bounded, in words.
    pub(crate) name: String,
    /// The bound, in words.
    pub(crate) wanted: String,
    /// `None` when this run has not measured it.
    pub(crate) measured: Option<f64>,
    /// By which part of itself the measurement differs from run to run, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) noise: Option<f64>,
    /// `None` as `measured`.
    pub(crate) holds: Option<bool>,
}

/// Holds what was measured against the thresholds; those of engines that did not run at all are left out.
pub(crate) fn judge(all: &[Measured]) -> Vec<Verdict> {
    THRESHOLDS
        .iter()
        .filter_map(|threshold| {
            let measured = all.iter().find(|one| one.size == threshold.size)?;
            let ran = measured.rows.iter().any(|row| row.part == threshold.part);
            ran.then(|| threshold.judge(&measured.rows, all))
        })
        .collect()
}

/// Prints a line for each verdict; returns whether none of them is broken. What was not measured is broken as well, unless
/// only a part was asked for.
pub(crate) fn print(verdicts: &[Verdict], is_part: bool) -> bool {
    println!("\n{:<62} {:>12} {:>12}", "threshold", "wanted", "measured");
    for verdict in verdicts {
        let measured = verdict
            .measured
            .map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let word = match verdict.holds {
            Some(true) => "holds",
            Some(false) => "DOES NOT HOLD",
            None => "not measured in this run",
        };
        let noise = verdict
            .noise
            .map_or_else(String::new, |noise| format!(", with a noise of {noise:.3}"));
        println!(
            "{:<62} {:>12} {measured:>12}  {word}{noise}",
            verdict.name, verdict.wanted
        );
    }
    verdicts
        .iter()
        .all(|verdict| verdict.holds.unwrap_or(is_part))
}

impl Threshold {
    fn judge(&self, rows: &[Row], all: &[Measured]) -> Verdict {
        let measured = self.measure(rows, all);
        let noise = match self.what {
            What::Waits(_, other) | What::WaitsAtLeast(_, other, _) => noise(rows, other),
            _ => None,
        };
        let room = 1.0 + noise.unwrap_or_default().min(MOST_NOISE);
        let (sign, at_least) = match self.what {
            What::Share | What::Rate => (">=", true),
            _ => ("<=", false),
        };
        Verdict {
            name: format!("{} {}: {}", self.size.name(), self.part, self.what.words()),
            wanted: format!("{sign} {}", self.bound),
            measured,
            noise,
            holds: measured.map(|value| {
                if at_least {
                    value >= self.bound
                } else {
                    value <= self.bound * room
                }
            }),
        }
    }

    fn measure(&self, rows: &[Row], all: &[Measured]) -> Option<f64> {
        let limit = limit(self.part, rows).and_then(|limit| fastest(rows, limit));
        let ours = fastest(rows, self.part);
        match self.what {
            What::Share => of_turns(rows, self.part).or_else(|| Some(ours? / limit?)),
            What::Times => Some(limit? / ours?),
            What::Rate => ours,
            What::Cpu => cpu(rows, self.part),
            What::CpuTimes(bare) => Some(cpu(rows, self.part)? / cpu(rows, bare)?),
            What::Memory => peak(rows, self.part),
            What::Growth(other) => {
                let other = all.iter().find(|one| one.size == other)?;
                Some(peak(rows, self.part)? / peak(&other.rows, self.part)?)
            }
            What::Calls => of(rows, self.part, |row| row.calls_per_object).reduce(f64::max),
            What::Waits(case, other) => Some(p99(rows, case)? / p99(rows, other)?),
            What::WaitsAtLeast(case, other, least) => {
                let least = p99(rows, least)? / self.bound;
                Some(p99(rows, case)? / p99(rows, other)?.max(least))
            }
        }
    }
}

impl What {
    fn words(self) -> String {
        match self {
            Self::Share => "objects/s as a share of the bare loop's".to_owned(),
            Self::Times => "time an object in times of the bare loop's".to_owned(),
            Self::Rate => "objects/s".to_owned(),
            Self::Cpu => "CPU-ms an object".to_owned(),
            Self::CpuTimes(_) => "CPU time an object in times of the bare loop's".to_owned(),
            Self::Memory => "MiB peak".to_owned(),
            Self::Growth(other) => format!("peak in times of that with {}", other.name()),
            Self::Calls => "calls an object".to_owned(),
            Self::Waits(case, other) | Self::WaitsAtLeast(case, other, _) => {
                format!("GETs {case} in times of {other}")
            }
        }
    }
}

fn cpu(rows: &[Row], part: &str) -> Option<f64> {
    of(rows, part, |row| Some(row.cpu_ms_per_object)).reduce(f64::min)
}

/// The median of the runs' rates, each as a share of that of the loop after it; `None` without such loops.
fn of_turns(rows: &[Row], part: &str) -> Option<f64> {
    let rates = |part| of(rows, part, |row| Some(row.objects_per_second));
    let mut shares: Vec<f64> = rates(part)
        .zip(rates(again::PART))
        .map(|(ours, bare)| ours / bare)
        .collect();
    shares.sort_unstable_by(f64::total_cmp);
    shares.get(shares.len().saturating_sub(1) / 2).copied()
}

fn peak(rows: &[Row], part: &str) -> Option<f64> {
    of(rows, part, |row| Some(row.peak_mib)).reduce(f64::max)
}

/// Of all runs of a case the median, in ms.
fn p99(rows: &[Row], variant: &str) -> Option<f64> {
    let times = p99s(rows, variant);
    times.get(times.len() / 2).copied()
}

/// By which part of the median the slowest run of a case is above it; unknown of a single run.
fn noise(rows: &[Row], variant: &str) -> Option<f64> {
    let times = p99s(rows, variant);
    let slowest = times.last().filter(|_| times.len() > 1)?;
    Some(slowest / p99(rows, variant)? - 1.0)
}

fn p99s(rows: &[Row], variant: &str) -> Vec<f64> {
    let of_case = rows.iter().filter(|row| row.variant == variant);
    let mut times: Vec<f64> = of_case.filter_map(|row| row.get_p99_ms).collect();
    times.sort_unstable_by(f64::total_cmp);
    times
}

fn of<'a>(
    rows: &'a [Row],
    part: &'a str,
    value: impl Fn(&Row) -> Option<f64> + 'a,
) -> impl Iterator<Item = f64> + 'a {
    rows.iter()
        .filter(move |row| row.part == part)
        .filter_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(part: &'static str, rate: f64, peak: f64) -> Row {
        Row {
            part,
            variant: String::new(),
            objects: 1,
            seconds: 1.0,
            objects_per_second: rate,
            cpu_ms_per_object: 100.0 / rate,
            peak_mib: peak,
            server_cpu_ms_per_object: 0.0,
            calls_per_object: None,
            get_p99_ms: None,
            writes_per_second: None,
            writes_at_once: None,
        }
    }

    fn gets(variant: &str, p99: f64) -> Row {
        Row {
            variant: variant.to_owned(),
            get_p99_ms: Some(p99),
            ..row(others::PART, 200.0, 0.0)
        }
    }

    fn measured(size: Size, rows: &[Row]) -> Measured {
        Measured {
            size,
            rows: rows.to_vec(),
        }
    }

    fn held(all: &[Measured]) -> Vec<(String, Option<bool>)> {
        let verdicts = judge(all).into_iter();
        verdicts
            .map(|verdict| (verdict.name, verdict.holds))
            .collect()
    }

    #[test]
    fn only_engines_that_ran_are_judged() {
        assert_eq!(held(&[measured(Size::Large, &[row("list", 9.0, 1.0)])]), []);
        assert_eq!(
            held(&[measured(Size::Small, &[row("backup", 9.0, 1.0)])]),
            []
        );
        let one = held(&[measured(Size::Crds, &[row("backup", 9.0, 48.0)])]);
        assert_eq!(one, [("crds backup: MiB peak".to_owned(), Some(true))]);
    }

    #[test]
    fn best_speed_and_worst_memory_count() {
        let rows = [
            row("list", 1000.0, 1.0),
            row("list", 3000.0, 1.0),
            row("backup", 1000.0, 40.0),
            row("backup", 2000.0, 49.0),
        ];
        let ten = measured(Size::Ten, &[row("backup", 1.0, 41.0)]);
        let found = judge(&[ten, measured(Size::Large, &rows)]);
        let values: Vec<_> = found.iter().map(|one| (one.measured, one.holds)).collect();
        assert_eq!(
            values,
            [
                (Some(1.5), Some(true)),
                (Some(0.05), Some(true)),
                (Some(49.0), Some(false)),
                (Some(49.0 / 41.0), Some(true)),
            ]
        );
        assert!(!print(&found, true));
    }

    #[test]
    fn restores_are_held_against_the_loops_that_take_turns_with_them() {
        // The machine becomes slower and slower: each loop ran after its restore.
        let rows = [
            row("post", 2000.0, 1.0),
            row("restore", 900.0, 40.0),
            row(again::PART, 1000.0, 1.0),
            row("restore", 700.0, 40.0),
            row(again::PART, 1000.0, 1.0),
            row("restore", 400.0, 40.0),
            row(again::PART, 500.0, 1.0),
        ];
        let found = judge(&[measured(Size::Medium, &rows)]);
        let values: Vec<_> = found.iter().map(|one| (one.measured, one.holds)).collect();
        let cpu = (100.0 / 900.0) / (100.0 / 2000.0);
        let expected = [
            (Some(0.8), Some(true)),
            (None, None),
            (Some(cpu), Some(true)),
            (Some(40.0), Some(true)),
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn gets_beside_a_restore_are_as_fast_as_beside_the_loop_but_for_noise() {
        let of_loop = [4.0, 4.4, 4.2].map(|p99| gets(others::BESIDE_LOOP, p99));
        for (restores, holds) in [
            ([4.1, 4.2, 9.0], true),
            // The loop differs from itself by 4.4 / 4.2.
            ([4.3, 4.39, 9.0], true),
            ([4.3, 4.5, 9.0], false),
        ] {
            let mut rows = of_loop.to_vec();
            rows.extend(restores.map(|p99| gets(others::BESIDE_RESTORE, p99)));
            rows.push(gets(others::ALONE, 1.0));
            rows.push(gets(others::BESIDE_ONE_SEAT, 1.9));
            rows.push(gets(others::BESIDE_ONE, 1.8));
            let found = judge(&[measured(Size::Medium, &rows)]);
            let all: Vec<_> = found.iter().map(|one| one.holds).collect();
            assert_eq!(all, [Some(holds), Some(true)], "{restores:?}");
            let noise = found[0].noise.unwrap();
            assert!((noise - (4.4 / 4.2 - 1.0)).abs() < 1e-9, "{noise}");
        }
        // Who writes one object after another cannot be beaten.
        for (one_by_one, times) in [(1.9, 3.0), (2.0, 3.0), (4.0, 1.5), (6.0, 1.0)] {
            let rows = [
                gets(others::ALONE, 1.0),
                gets(others::BESIDE_ONE_SEAT, 3.0),
                gets(others::BESIDE_ONE, one_by_one),
            ];
            let found = judge(&[measured(Size::Medium, &rows)]);
            assert_eq!(found[1].measured, Some(times));
        }
        // Noise without bounds would excuse everything.
        let rows = [
            gets(others::BESIDE_LOOP, 1.0),
            gets(others::BESIDE_LOOP, 9.0),
            gets(others::BESIDE_LOOP, 1.0),
            gets(others::BESIDE_RESTORE, 1.3),
        ];
        let found = judge(&[measured(Size::Medium, &rows)]);
        assert_eq!(found[0].holds, Some(false));
    }

    #[test]
    fn what_a_run_leaves_out_is_neither_held_nor_broken() {
        let rows = [row("backup", 1.0, 30.0)];
        let found = judge(&[measured(Size::Large, &rows)]);
        let open: Vec<_> = found.iter().filter(|one| one.holds.is_none()).collect();
        assert_eq!(open.len(), 2, "{found:?}");
        let broken: Vec<_> = found
            .iter()
            .filter(|one| one.holds == Some(false))
            .collect();
        assert_eq!(broken.len(), 1, "the CPU time: {found:?}");
    }

    #[test]
    fn what_was_not_measured_fails_all_but_a_part() {
        // Without an audit log nobody has counted the calls.
        let rows = [row("post", 1000.0, 1.0), row("restore", 900.0, 20.0)];
        let found = judge(&[measured(Size::Medium, &rows)]);
        let open = found.iter().filter(|one| one.holds.is_none()).count();
        let broken = found.iter().any(|one| one.holds == Some(false));
        assert_eq!((open, broken), (1, false), "{found:?}");
        assert!(print(&found, true) && !print(&found, false));
    }
}
