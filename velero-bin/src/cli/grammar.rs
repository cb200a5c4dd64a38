//! The grammar of flags, as far as it is the same for all commands.

use clap::{ArgAction, Command, CommandFactory as _};

use super::command::Cli;
use super::values::parse_bool;

/// The whole tree of commands.
pub(super) fn command() -> Command {
    switches(Cli::command())
}

/// Lets switches take a value, as Go's do: `--wait`, `--wait=true` and `--wait=false`.
fn switches(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        if !matches!(arg.get_action(), ArgAction::SetTrue) {
            return arg;
        }
        let needed = arg.is_required_set();
        let arg = arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(parse_bool)
            .hide_possible_values(true)
            .value_name("BOOL");
        if needed {
            arg
        } else {
            arg.default_value("false").hide_default_value(true)
        }
    });
    command.mut_subcommands(switches)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::peer_flags::peer;

    /// Commands that the peer does not have.
    const OURS: &[&str] = &["velero direct", "velero sandbox"];

    fn check(
        command: &Command,
        path: &str,
        peer: &BTreeMap<String, BTreeMap<String, Option<char>>>,
    ) {
        if OURS.contains(&path) {
            return;
        }
        let known = peer
            .get(path)
            .unwrap_or_else(|| panic!("the peer has no command {path:?}"));
        for arg in command
            .get_arguments()
            .filter(|arg| arg.get_long().is_some())
        {
            let long = arg.get_long().unwrap();
            if matches!(long, "help" | "version") {
                continue;
            }
            let short = known
                .get(long)
                .unwrap_or_else(|| panic!("{path} of the peer has no --{long}"));
            assert_eq!(arg.get_short(), *short, "{path} --{long}");
        }
        for sub in command.get_subcommands() {
            check(sub, &format!("{path} {}", sub.get_name()), peer);
        }
    }

    #[test]
    fn every_flag_of_ours_is_one_of_the_peers() {
        check(&command(), "velero", &peer());
    }

    #[test]
    fn every_flag_of_create_is_taken() {
        let (command, peer) = (command(), peer());
        for path in ["backup create", "restore create"] {
            let mut found = &command;
            for word in path.split(' ') {
                found = found.find_subcommand(word).unwrap();
            }
            for flag in peer[&format!("velero {path}")].keys() {
                let taken = found
                    .get_arguments()
                    .any(|arg| arg.get_long() == Some(flag));
                assert!(taken || flag == "help", "{path} --{flag}");
            }
        }
    }

    #[test]
    fn every_global_flag_of_the_peer_is_taken() {
        let command = command();
        for name in peer()["velero"].keys().filter(|name| *name != "help") {
            assert!(
                command
                    .get_arguments()
                    .any(|arg| arg.get_long() == Some(name)),
                "--{name}"
            );
        }
    }

    #[test]
    fn the_tree_is_sound_and_switches_take_values() {
        command().debug_assert();
        for (line, expected) in [
            ("velero backup create b --wait", Some(true)),
            ("velero backup create b --wait=true", Some(true)),
            ("velero backup create b --wait=f", Some(false)),
            ("velero backup create b", Some(false)),
            ("velero backup create b --wait=perhaps", None),
        ] {
            let found = command()
                .try_get_matches_from(line.split(' '))
                .ok()
                .and_then(|matches| {
                    let (_, backup) = matches.subcommand()?;
                    let (_, create) = backup.subcommand()?;
                    create.get_one::<bool>("wait").copied()
                });
            assert_eq!(found, expected, "{line}");
        }
        assert!(
            command()
                .try_get_matches_from(["velero", "install"])
                .is_err()
        );
        assert!(
            command()
                .try_get_matches_from(["velero", "install", "--crds-only"])
                .is_ok()
        );
    }

    #[test]
    fn both_word_orders_and_the_aliases_are_there() {
        for line in [
            "backup get",
            "get backups",
            "get backup",
            "backup describe",
            "describe backups",
            "describe backup",
            "restore get",
            "get restores",
            "get restore",
            "describe restore",
            "create backup b",
            "create restore --from-backup b",
            "delete backup b",
            "delete backups b",
            "delete restore b",
            "delete restores b",
            "backup logs b",
            "restore logs b",
        ] {
            let words = ["velero"].into_iter().chain(line.split(' '));
            assert!(command().try_get_matches_from(words).is_ok(), "{line}");
        }
    }
}
