//! `docs/compat.md`: each row has a known state, and each test that it names is there; so are those of `docs/operations.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const HEADER: &str = "| id | the peer | ours | test |";
const RULE: &str = "|---|---|---|---|";
/// What a row can wait for.
const STEPS: [&str; 5] = ["issue 4", "issue 5", "issue 6", "volumes", "plugins"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One line of a table.
#[derive(Debug)]
struct Row<'a> {
    line: usize,
    id: &'a str,
    peer: &'a str,
    ours: &'a str,
    test: &'a str,
}

/// The rows of all tables with our header, and lines in them that are no rows.
fn rows(text: &str) -> (Vec<Row<'_>>, Vec<String>) {
    let (mut rows, mut faults, mut inside) = (Vec::new(), Vec::new(), false);
    for (number, line) in text.lines().enumerate().map(|(n, line)| (n + 1, line)) {
        inside = line == HEADER || (inside && line.starts_with('|'));
        if !inside || line == HEADER || line == RULE {
            continue;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells.as_slice() {
            ["", id, peer, ours, test, ""] => rows.push(Row {
                line: number,
                id,
                peer,
                ours,
                test,
            }),
            _ => faults.push(format!("line {number}: a row has four cells: {line}")),
        }
    }
    (rows, faults)
}

/// The state of a row; `None` when it is none.
fn state(ours: &str) -> Option<&'static str> {
    let (word, rest) = ours.split_once(": ").unwrap_or((ours, ""));
    match word {
        "copied" => Some("copied"),
        "beaten" if !rest.is_empty() => Some("beaten"),
        "unproven" => Some("unproven"),
        "not yet" => {
            let step = rest.split_once("; ").map_or(rest, |(step, _)| step);
            STEPS.contains(&step).then_some("not yet")
        }
        _ => None,
    }
}

/// Everything that is wrong with a document. `is_there` says why a test does not exist, if so.
fn faults(text: &str, is_there: impl Fn(&str) -> Result<(), String>) -> Vec<String> {
    let (rows, mut faults) = rows(text);
    let mut ids = BTreeSet::new();
    for row in &rows {
        let mut say = |what: String| faults.push(format!("line {}, {}: {what}", row.line, row.id));
        if row.id.is_empty() || !ids.insert(row.id) {
            say("the id is empty or was there before".into());
        }
        if row.peer.is_empty() {
            say("what the peer does is missing".into());
        }
        let Some(state) = state(row.ours) else {
            say(format!("{:?} begins with no known state", row.ours));
            continue;
        };
        let shown = matches!(state, "copied" | "beaten");
        if !shown && row.test != "-" {
            say(format!("the state is {state:?}, so that no test shows it"));
        }
        for reference in row.test.split(", ").filter(|_| shown) {
            let named = reference
                .strip_prefix('`')
                .and_then(|rest| rest.strip_suffix('`'));
            match named {
                None => say(format!("{reference:?} is no test in back quotes")),
                Some(named) => is_there(named).unwrap_or_else(&mut say),
            }
        }
    }
    faults.extend(score_faults(text, &rows));
    faults
}

/// The score that the document gives is that of its rows.
fn score_faults(text: &str, rows: &[Row<'_>]) -> Option<String> {
    let mut counts = BTreeMap::from(["copied", "beaten", "unproven", "not yet"].map(|s| (s, 0)));
    for state in rows.iter().filter_map(|row| state(row.ours)) {
        *counts.entry(state).or_insert(0) += 1;
    }
    let score = format!(
        "**Score**: {} rows: {} copied, {} beaten, {} unproven, {} not yet.",
        rows.len(),
        counts["copied"],
        counts["beaten"],
        counts["unproven"],
        counts["not yet"]
    );
    let said = text.lines().any(|line| line == score);
    (!said).then(|| format!("the score should read: {score}"))
}

/// Whether `CRATE: PATH` is a test of the crate, or `e2e: NAME` a scenario.
fn is_in_the_tree(root: &Path, named: &str) -> Result<(), String> {
    let Some((package, path)) = named.split_once(": ") else {
        return Err(format!("{named:?} is not of the form `CRATE: PATH`"));
    };
    let found = match package {
        "e2e" => has_scenario(root, path),
        _ => ["src", "tests/it"]
            .iter()
            .any(|tree| has_test(&root.join(package).join(tree), path)),
    };
    found
        .then_some(())
        .ok_or_else(|| format!("there is no test {named:?}"))
}

fn has_scenario(root: &Path, name: &str) -> bool {
    let text = fs::read_to_string(root.join("e2e/src/scenarios/mod.rs")).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    let first = format!("{name:?},");
    while lines.any(|line| line == "scenario!(") {
        if lines.next() == Some(first.as_str()) {
            return true;
        }
    }
    false
}

/// Whether a path of modules and a function leads to a test below a folder.
fn has_test(tree: &Path, path: &str) -> bool {
    let modules: Vec<&str> = path.split("::").collect();
    let Some((function, modules)) = modules.split_last() else {
        return false;
    };
    // The first modules are files, the others are written inside of the last file.
    (0..=modules.len()).any(|in_files| {
        let (files, inline) = modules.split_at(in_files);
        let stem = files.iter().fold(tree.to_owned(), |path, m| path.join(m));
        let candidates = match in_files {
            0 => [stem.join("lib.rs"), stem.join("main.rs")],
            _ => [stem.with_extension("rs"), stem.join("mod.rs")],
        };
        candidates.iter().any(|file| {
            let text = fs::read_to_string(file).unwrap_or_default();
            inline.iter().all(|m| text.contains(&format!("mod {m} {{")))
                && (is_marked(&text, function, inline.len()) || is_in_suite(&text, function))
        })
    })
}

/// Whether a function that many modules deep carries the attribute of a test.
fn is_marked(text: &str, function: &str, deep: usize) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    // Tests of `proptest!` stand one step further to the right.
    let steps = deep..=deep + usize::from(text.contains("proptest! {"));
    let heads: Vec<String> = steps
        .flat_map(|step| {
            ["fn", "async fn"].map(|word| format!("{}{word} {function}(", "    ".repeat(step)))
        })
        .collect();
    lines
        .iter()
        .enumerate()
        .filter(|(_, line)| heads.iter().any(|head| line.starts_with(head)))
        .any(|(at, _)| {
            lines[..at]
                .iter()
                .rev()
                .map(|line| line.trim())
                .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
                .any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
        })
}

/// Whether a function is among those that the macro `suite!` makes tests of.
fn is_in_suite(text: &str, function: &str) -> bool {
    text.lines()
        .map(str::trim)
        .skip_while(|line| *line != "suite!(")
        .take_while(|line| *line != ");")
        .any(|line| line.strip_suffix(',') == Some(function))
}

#[test]
fn every_row_of_the_document_holds() {
    let text = fs::read_to_string(root().join("docs/compat.md")).unwrap();
    let faults = faults(&text, |named| is_in_the_tree(&root(), named));
    assert!(faults.is_empty(), "{faults:#?}");
    let (rows, _) = rows(&text);
    for section in [
        "B1", "B2", "B3", "B11", "R12", "S1", "S11", "A1", "A2", "A8",
    ] {
        let start = format!("{section}.");
        assert!(
            rows.iter().any(|row| row.id.starts_with(&start)),
            "no row of section {section}"
        );
    }
}

#[test]
fn every_fault_of_the_operations_document_has_its_tests() {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| fault |"));
    let (mut checked, mut faults) = (0, Vec::new());
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let ["", fault, _, _, tests, ""] = cells.as_slice() else {
            faults.push(format!("a row has four cells: {row}"));
            continue;
        };
        for test in tests.split(", ") {
            checked += 1;
            let there = is_in_the_tree(&root(), test.trim_matches('`'));
            faults.extend(there.err().map(|why| format!("{fault}: {why}")));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    assert!(checked > 30, "{checked}");
}

fn document(rows: &[&str], score: &str) -> String {
    format!("{score}\n\n{HEADER}\n{RULE}\n{}\n\nEnd.\n", rows.join("\n"))
}

#[test]
fn what_is_wrong_in_a_document_is_found() {
    let only_a = |named: &str| match named {
        "x: a" => Ok(()),
        _ => Err(format!("there is no test {named:?}")),
    };
    for (ours, test, expected) in [
        ("copied", "`x: a`", None),
        ("beaten: nothing is lost", "`x: a`, `x: a`", None),
        ("unproven: an odd order", "-", None),
        ("not yet: issue 4", "-", None),
        ("not yet: volumes; refused by name", "-", None),
        ("copied", "-", Some("no test in back quotes")),
        ("copied", "", Some("no test in back quotes")),
        ("copied", "x: a", Some("no test in back quotes")),
        ("copied", "`x: b`", Some("there is no test \"x: b\"")),
        ("beaten: how", "`x: a`, `x: b`", Some("there is no test")),
        ("beaten", "`x: a`", Some("no known state")),
        ("done", "`x: a`", Some("no known state")),
        ("", "-", Some("no known state")),
        ("not yet: some day", "-", Some("no known state")),
        ("not yet", "-", Some("no known state")),
        ("not yet: issue 4", "`x: a`", Some("no test shows it")),
        ("unproven", "`x: a`", Some("no test shows it")),
        ("copied", "`x: a` | more", Some("four cells")),
    ] {
        let row = format!("| B1.1 | words | {ours} | {test} |");
        // The score is another matter.
        let found: Vec<String> = faults(&document(&[&row], ""), only_a)
            .into_iter()
            .filter(|fault| !fault.contains("the score"))
            .collect();
        match expected {
            None => assert!(found.is_empty(), "{row}: {found:?}"),
            Some(part) => assert!(
                found.len() == 1 && found[0].contains(part),
                "{row}: {found:?}"
            ),
        }
    }
}

#[test]
fn ids_are_used_once_and_the_score_is_counted() {
    let rows = [
        "| B1.1 | words | copied | `x: a` |",
        "| B1.2 | words | not yet: issue 5 | - |",
    ];
    let right = "**Score**: 2 rows: 1 copied, 0 beaten, 0 unproven, 1 not yet.";
    let check = |rows: &[&str], score: &str| faults(&document(rows, score), |_| Ok(()));
    assert!(check(&rows, right).is_empty());
    let wrong = check(&rows, &right.replace("1 copied", "2 copied"));
    assert!(wrong.len() == 1 && wrong[0].ends_with(right), "{wrong:?}");
    let twice = check(&[rows[0], rows[1], rows[1]], right);
    assert!(twice[0].contains("was there before"), "{twice:?}");
    let silent = check(&["| B1.1 |  | copied | `x: a` |"], right);
    assert!(silent[0].contains("what the peer does"), "{silent:?}");
}

/// One reference of each form that is there, and some that are not.
#[test]
fn tests_are_looked_up_in_the_tree() {
    for (named, expected) in [
        (
            "velero-core: filter::scope::tests::kinds_collected_by_filters",
            true,
        ),
        ("velero-core: archive::what_is_written_is_read", true),
        ("velero-restore: actions::tests::names_are_sorted", true),
        (
            "velero-persistence: backup_store::s3::names_are_reserved",
            true,
        ),
        ("velero-bin: server::backups::backups_queue_up", true),
        ("examples: compat::tests_are_looked_up_in_the_tree", true),
        ("e2e: migrate", true),
        ("e2e: a mixed world", false),
        ("e2e: nowhere", false),
        (
            "velero-core: filter::scope::kinds_collected_by_filters",
            false,
        ),
        ("velero-core: filter::scope::tests::nothing", false),
        // Functions that are no tests.
        ("velero-core: archive::one", false),
        ("velero-persistence: backup_store::s3::unpacked", false),
        ("velero-core", false),
        ("nowhere: a::b", false),
    ] {
        assert_eq!(is_in_the_tree(&root(), named).is_ok(), expected, "{named}");
    }
}
