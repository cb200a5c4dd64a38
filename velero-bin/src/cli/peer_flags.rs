//! The peer's flags, for tests that compare with them.

use std::collections::BTreeMap;

const PEER: &str = include_str!("../../../velero-testkit/fixtures/cli-flags.txt");

/// What the peer's help says of a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerFlag {
    /// Its short name.
    pub(crate) short: Option<char>,
    /// The name of its type, such as `stringArray`; empty for a switch. `[=true]` at the end means that the flag can stand
    /// alone.
    pub(crate) kind: String,
}

/// The flags of each command of the peer.
pub(crate) fn peer() -> BTreeMap<String, BTreeMap<String, PeerFlag>> {
    let mut commands: BTreeMap<String, BTreeMap<String, PeerFlag>> = BTreeMap::new();
    let mut current = String::new();
    for line in PEER.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            current = name.split("   ").next().unwrap().trim().to_owned();
            commands.entry(current.clone()).or_default();
        } else if let Some(flag) = line.trim_start().strip_prefix("--") {
            // Name and short name, type, default, with two spaces between them.
            let mut parts = flag.split("  ");
            let mut names = parts.next().unwrap().split(' ');
            let name = names.next().unwrap().to_owned();
            let short = names
                .next()
                .and_then(|word| word.strip_prefix('-'))
                .and_then(|word| word.chars().next());
            let kind = parts.next().unwrap_or_default().to_owned();
            let flags = commands.entry(current.clone()).or_default();
            flags.insert(name, PeerFlag { short, kind });
        }
    }
    commands
}
