//! The peer's flags, for tests that compare with them.

use std::collections::BTreeMap;

const PEER: &str = include_str!("../../../velero-testkit/fixtures/cli-flags.txt");

/// The flags of each command of the peer, with their short names.
pub(crate) fn peer() -> BTreeMap<String, BTreeMap<String, Option<char>>> {
    let mut commands: BTreeMap<String, BTreeMap<String, Option<char>>> = BTreeMap::new();
    let mut current = String::new();
    for line in PEER.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            current = name.split("   ").next().unwrap().trim().to_owned();
            commands.entry(current.clone()).or_default();
        } else if let Some(flag) = line.trim().strip_prefix("--") {
            let mut words = flag.split_whitespace();
            let name = words.next().unwrap().to_owned();
            let short = words
                .next()
                .and_then(|word| word.strip_prefix('-'))
                .and_then(|word| word.chars().next());
            commands
                .entry(current.clone())
                .or_default()
                .insert(name, short);
        }
    }
    commands
}
