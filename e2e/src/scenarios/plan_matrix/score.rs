//! What the rounds come to.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};

/// How many situations there are at least.
const LEAST: usize = 150;

/// What one round has shown.
#[derive(Debug, Default)]
pub(super) struct Played {
    /// How many situations have which verdict.
    pub(super) situations: BTreeMap<String, usize>,
    /// Objects that plan and restore agree on beside the situations: namespaces, and what every cluster makes.
    pub(super) others: usize,
    /// Where the plan is not as expected, or the restore not as planned.
    pub(super) faults: Vec<String>,
}

impl Played {
    /// A round that did not come to its end.
    pub(super) fn cut_short(error: anyhow::Error) -> Self {
        Self {
            faults: vec![format!("it cannot be played: {error:#}")],
            ..Self::default()
        }
    }
}

/// What all rounds have shown.
#[derive(Debug, Default)]
pub(super) struct Score {
    rounds: usize,
    situations: BTreeMap<String, usize>,
    others: usize,
    faults: Vec<String>,
}

impl Score {
    /// Adds a round, and prints how it went.
    #[allow(clippy::print_stdout)]
    pub(super) fn add(&mut self, name: &str, played: Played, took: Duration) {
        let (count, faults) = (sum(&played.situations), played.faults.len());
        let seconds = took.as_secs_f64();
        println!("  {name}: {count} situations, {faults} disagreements ({seconds:.1} s)");
        for fault in &played.faults {
            println!("    {fault}");
        }
        self.rounds += 1;
        self.others += played.others;
        for (verdict, count) in played.situations {
            *self.situations.entry(verdict).or_default() += count;
        }
        let named = played
            .faults
            .into_iter()
            .map(|fault| format!("{name}: {fault}"));
        self.faults.extend(named);
    }

    /// Prints the numbers, and fails where there is a disagreement; where all rounds were played, also when these are
    /// too few situations.
    #[allow(clippy::print_stdout)]
    pub(super) fn verdict(&self, is_whole: bool) -> Result<()> {
        let count = sum(&self.situations);
        let each: Vec<String> = self
            .situations
            .iter()
            .map(|(verdict, count)| format!("{count} {verdict}"))
            .collect();
        println!(
            "  {} rounds, {count} situations ({}), {} more objects; {} disagreements",
            self.rounds,
            each.join("; "),
            self.others,
            self.faults.len()
        );
        ensure!(
            self.faults.is_empty(),
            "{} disagreements in {count} situations, the first one: {}",
            self.faults.len(),
            self.faults[0]
        );
        ensure!(
            !is_whole || count >= LEAST,
            "{count} situations, and {LEAST} are wanted"
        );
        Ok(())
    }
}

fn sum(counts: &BTreeMap<String, usize>) -> usize {
    counts.values().sum()
}
