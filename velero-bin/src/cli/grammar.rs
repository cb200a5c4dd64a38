//! The grammar of flags, as far as it is the same for all commands.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::command::Cli;
use super::values::parse_bool;

/// Names of values that can begin with a minus, as Go's flags take the word behind a flag whatever it is.
const NUMBERS: [&str; 2] = ["DURATION", "COUNT"];

/// Names of values of which the last flag counts alone, though one could think that they are joined.
const LISTS: [&str; 3] = ["NAMESPACES", "RESOURCES", "ORDER"];

/// The whole tree of commands.
pub(super) fn command() -> Command {
    numbers(switches(Cli::command()))
}

fn is_one_of(arg: &Arg, names: &[&str]) -> bool {
    let mut values = arg.get_value_names().into_iter().flatten();
    values.any(|name| names.contains(&name.as_str()))
}

/// Lets durations and counts be negative, so that what is wrong with them is told by their own rule.
fn numbers(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let is_number = is_one_of(&arg, &NUMBERS);
        arg.allow_hyphen_values(is_number)
    });
    command.mut_subcommands(numbers)
}

/// The lists that a command line gives more than once, with the number of times: the last one counts, as with the peer.
pub(super) fn repeated_lists(command: &Command, args: &[OsString]) -> Vec<(String, usize)> {
    let mut lists = BTreeSet::new();
    collect_lists(command, &mut lists);
    let words: Vec<&str> = args
        .iter()
        .filter_map(|arg| arg.to_str())
        .take_while(|word| *word != "--")
        .filter_map(|word| word.strip_prefix("--"))
        .map(|word| word.split('=').next().unwrap_or_default())
        .collect();
    lists
        .into_iter()
        .map(|list| (words.iter().filter(|word| **word == list).count(), list))
        .filter(|(count, _)| *count > 1)
        .map(|(count, list)| (list, count))
        .collect()
}

fn collect_lists(command: &Command, lists: &mut BTreeSet<String>) {
    let flags = command
        .get_arguments()
        .filter(|arg| is_one_of(arg, &LISTS))
        .filter_map(|arg| arg.get_long());
    lists.extend(flags.map(str::to_owned));
    command
        .get_subcommands()
        .for_each(|command| collect_lists(command, lists));
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

/// Commands that the peer does not have.
#[cfg(test)]
pub(super) const OURS: &[&str] = &[
    "velero backup cancel",
    "velero delete snapshot-location",
    "velero direct",
    "velero restore cancel",
    "velero restore plan",
    "velero sandbox",
    "velero snapshot-location delete",
];

/// Commands that do not take all flags of the peer's yet: what is asked for with the others is refused.
#[cfg(test)]
const PARTIAL: &[&str] = &["velero install", "velero server"];

/// Whether the peer's command does not have a flag of ours.
#[cfg(test)]
pub(super) fn added(path: &str, flag: &str) -> bool {
    [
        ("velero install", "rbac-only"),
        ("velero install", "resources"),
        ("velero restore create", "relink-owners"),
        ("velero create restore", "relink-owners"),
        ("velero server", "concurrent-restores"),
        ("velero server", "download-port"),
        ("velero server", "leader-elect"),
        ("velero server", "spool-dir"),
    ]
    .contains(&(path, flag))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::peer_flags::{PeerFlag, peer};

    fn check(command: &Command, path: &str, peer: &BTreeMap<String, BTreeMap<String, PeerFlag>>) {
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
            if matches!(long, "help" | "version") || added(path, long) {
                continue;
            }
            let flag = known
                .get(long)
                .unwrap_or_else(|| panic!("{path} of the peer has no --{long}"));
            assert_eq!(arg.get_short(), flag.short, "{path} --{long}");
        }
        for sub in command.get_subcommands() {
            check(sub, &format!("{path} {}", sub.get_name()), peer);
        }
    }

    #[test]
    fn every_flag_of_ours_is_one_of_the_peers() {
        check(&command(), "velero", &peer());
    }

    fn check_taken(
        command: &Command,
        path: &str,
        peer: &BTreeMap<String, BTreeMap<String, PeerFlag>>,
    ) {
        if OURS.contains(&path) || PARTIAL.contains(&path) {
            return;
        }
        for flag in peer[path].keys().filter(|flag| *flag != "help") {
            let mut arguments = command.get_arguments();
            let taken = arguments.any(|arg| arg.get_long() == Some(flag));
            assert!(taken, "{path} --{flag}");
        }
        for sub in command.get_subcommands() {
            check_taken(sub, &format!("{path} {}", sub.get_name()), peer);
        }
    }

    #[test]
    fn every_flag_of_a_command_is_taken() {
        check_taken(&command(), "velero", &peer());
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
    fn lists_that_are_given_twice_are_found() {
        for (line, expected) in [
            (
                "backup create b --include-namespaces a,b --include-resources c",
                vec![],
            ),
            (
                "backup create b --ttl 1h --ttl 2h --labels a=b --labels c=d",
                vec![],
            ),
            (
                "backup create b --include-namespaces a --include-namespaces=b",
                vec![("include-namespaces", 2)],
            ),
            (
                "direct backup b --exclude-resources a --ordered-resources p=a/b --exclude-resources b --ordered-resources=q=r \
                 --exclude-resources c -- --include-namespaces --include-namespaces",
                vec![("exclude-resources", 3), ("ordered-resources", 2)],
            ),
        ] {
            let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            let found = repeated_lists(&command(), &args);
            let found: Vec<(&str, usize)> =
                found.iter().map(|(flag, n)| (flag.as_str(), *n)).collect();
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn negative_durations_and_counts_reach_their_own_rule() {
        for (line, part) in [
            ("backup create b --ttl -5h", "would have expired"),
            (
                "backup create b --csi-snapshot-timeout -5m",
                "cannot be negative",
            ),
            (
                "backup create b --item-operation-timeout=-5m",
                "cannot be negative",
            ),
            (
                "direct backup b --parallel-files-upload -1",
                "cannot be negative",
            ),
            (
                "restore create --from-backup b --item-operation-timeout -1h",
                "cannot be negative",
            ),
        ] {
            let words = ["velero"].into_iter().chain(line.split(' '));
            let fault = command()
                .try_get_matches_from(words)
                .unwrap_err()
                .to_string();
            assert!(fault.contains(part), "{line}: {fault}");
        }
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
            "delete schedule s",
            "delete schedules s",
            "delete backup-location l",
            "delete backup-locations l",
            "delete snapshot-location l",
            "delete snapshot-locations l",
            "create schedule s",
            "create backup-location l",
            "create snapshot-location l",
            "get schedules",
            "get schedule",
            "get backup-locations",
            "get backup-location",
            "get snapshot-locations",
            "get snapshot-location",
            "get plugins",
            "get plugin",
            "describe schedules",
            "describe schedule",
            "backup logs b",
            "backup download b",
            "restore logs b",
            "schedule create s",
            "schedule get",
            "schedule describe",
            "schedule pause s",
            "schedule unpause s",
            "schedule delete s",
            "backup-location create l",
            "backup-location get",
            "backup-location set l",
            "backup-location delete l",
            "snapshot-location create l",
            "snapshot-location get",
            "snapshot-location set l",
            "snapshot-location delete l",
            "repo get",
            "plugin get",
        ] {
            let words = ["velero"].into_iter().chain(line.split(' '));
            assert!(command().try_get_matches_from(words).is_ok(), "{line}");
        }
    }
}
