//! Whether flags take values as the peer's types take them.

use clap::{Arg, Command};

use super::grammar::{OURS, added, command};
use super::peer_flags::peer;

/// Flags of which only certain words are taken, so that the words of their type are none of them.
const WORDS: &[&str] = &[
    "access-mode",
    "existing-resource-policy",
    "log-format",
    "log-level",
    "ordered-resources",
    "output",
];

/// What the flag is given, with words that it takes, and with words that it does not.
type Words = &'static [&'static str];

/// Values of each of the peer's types: good ones, and those that are no value of the type. `F` stands for the flag.
fn of_type(path: &str, kind: &str, flag: &str) -> (Words, Words) {
    let pairs = match flag {
        "namespace-mappings" | "default-volume-snapshot-locations" => {
            return (
                &["F=a:b,c:d", "F a:b", "F=\"a:b\""],
                &["F", "F=a", "F=a:b,c"],
            );
        }
        _ => (
            &["F=a=b,c=d", "F a=b", "F=\"a=b\",c="] as Words,
            &["F", "F=a", "F=a=b,c"] as Words,
        ),
    };
    // The output of a download is a file.
    if WORDS.contains(&flag) && path != "velero backup download" {
        return (&[], &["F", "F=no-such-word"]);
    }
    match kind {
        // A word behind a switch is not its value.
        "" => (&["F", "F=true", "F=f"], &["F=perhaps", "F=", "F false"]),
        "optionalBool[=true]" => (&["F", "F=", "F=T", "F=0"], &["F=yes", "F false"]),
        "optionalBool" => (&["F=", "F=t", "F false"], &["F", "F=yes"]),
        "string" => (&["F=a", "F b"], &["F"]),
        "stringArray" | "strings" => (&["F=", "F=a,b", "F a,b", "F=*"], &["F"]),
        "int" => (&["F=4", "F 4"], &["F", "F=x", "F=1.5", "F=4h"]),
        "float32" => (&["F=1.5", "F 4"], &["F", "F=x"]),
        // Where the help of a flag quotes a value, the peer shows it in place of the type.
        "duration" | "0s" => (&["F=1h30m", "F 90s"], &["F", "F=5d", "F=x", "F=10"]),
        "mapStringString" => pairs,
        "labelSelector" => (
            &["F=", "F=a=b,c in (d,e)", "F a,!b"],
            &["F", "F=a=b=c", "F=a in ("],
        ),
        "orLabelSelector" => (&["F=a=b or c=d", "F a=b"], &["F", "F=a=b or c in ("]),
        "Level" | "uint" => (&["F=4", "F 4"], &["F"]),
        "severity" => (&["F=2", "F 2"], &["F"]),
        "traceLocation" => (&["F=main.go:10"], &["F"]),
        "moduleSpec" => (&["F=main=2"], &["F"]),
        other => panic!("--{flag}: no values of the type {other:?} are known"),
    }
}

/// Whether the flag alone, on a command without any other, takes the words.
fn takes(arg: &Arg, words: &str) -> bool {
    let flag = format!("--{}", arg.get_long().unwrap());
    let words = words.replacen('F', &flag, 1);
    let (first, value) = match words.split_once(' ') {
        // Only a value that stands by itself is a word of its own.
        Some((first, value)) if !first.contains('=') => (first.to_owned(), Some(value.to_owned())),
        _ => (words, None),
    };
    let line = ["velero".to_owned(), first].into_iter().chain(value);
    let command = Command::new("velero").arg(arg.clone().required(false));
    command.try_get_matches_from(line).is_ok()
}

fn check(command: &Command, path: &str, checked: &mut usize, faults: &mut Vec<String>) {
    let peer = peer();
    for arg in command.get_arguments() {
        let Some(flag) = arg.get_long() else { continue };
        if matches!(flag, "help" | "version") || added(path, flag) {
            continue;
        }
        let kind = &peer[path][flag].kind;
        let (good, bad) = of_type(path, kind, flag);
        let good = good.iter().filter(|words| !takes(arg, words));
        let bad = bad.iter().filter(|words| takes(arg, words));
        faults.extend(good.map(|words| format!("{path} --{flag}, {kind}: {words:?} is refused")));
        faults.extend(bad.map(|words| format!("{path} --{flag}, {kind}: {words:?} is taken")));
        *checked += 1;
    }
    for sub in command.get_subcommands() {
        let path = format!("{path} {}", sub.get_name());
        if !OURS.contains(&path.as_str()) {
            check(sub, &path, checked, faults);
        }
    }
}

#[test]
fn values_are_taken_as_the_types_of_the_peer_take_them() {
    let (mut checked, mut faults) = (0, Vec::new());
    check(&command(), "velero", &mut checked, &mut faults);
    assert_eq!(faults, Vec::<String>::new());
    // Each of the commands that make backups and restores has 26 flags and more, by two word orders.
    assert!(checked > 150, "{checked}");
}
