//! What became of each kind, as people read it.

use std::collections::BTreeMap;

use velero_backup::{KindCoverage, LeftOut, Reading};

use crate::cli::table;
use crate::logfile;

/// The statements that a backup's log has; none in a log of the peer.
pub(crate) fn from_log(log: &str) -> Vec<KindCoverage> {
    log.lines()
        .filter(|line| line.contains("coverage"))
        .map(logfile::fields)
        .filter(|fields| fields.get("msg").is_some_and(|msg| msg == "coverage"))
        .filter_map(|fields| KindCoverage::from_fields(|name| fields.get(name).map(String::as_str)))
        .collect()
}

/// A table of the kinds that have objects or faults, then the others in few words.
pub(crate) fn lines(kinds: &[KindCoverage]) -> Vec<String> {
    let mut rows = vec![
        ["RESOURCE", "FOUND", "STORED", "FAILED", "LEFT OUT", "READ"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let (mut empty, mut not_read) = (0, BTreeMap::<&str, Vec<String>>::new());
    for kind in kinds {
        match &kind.reading {
            _ if kind.found > 0 || kind.incomplete_lists > 0 => rows.push(row(kind, kinds)),
            Reading::Not(rule) => not_read.entry(rule).or_default().push(name(kind, kinds)),
            _ => empty += 1,
        }
    }
    let mut out = Vec::new();
    if rows.len() > 1 {
        out.extend(table::align(&rows, 0, 2).lines().map(str::to_owned));
    }
    if empty > 0 {
        out.push(format!("Read, without objects: {empty} kinds"));
    }
    for (rule, names) in not_read {
        out.push(format!("Not read, {rule}: {}", names.join(", ")));
    }
    out
}

fn row(kind: &KindCoverage, all: &[KindCoverage]) -> Vec<String> {
    let mut read = kind.reading.to_string();
    if kind.incomplete_lists > 0 {
        read += "; not to the end";
    }
    let stored = match kind.related {
        0 => kind.stored.to_string(),
        related => format!("{} ({related} related)", kind.stored),
    };
    vec![
        name(kind, all),
        kind.found.to_string(),
        stored,
        kind.failed.to_string(),
        left_out(kind.left_out),
        read,
    ]
}

/// The version is told where a kind was read in several.
fn name(kind: &KindCoverage, all: &[KindCoverage]) -> String {
    let twin = |other: &&KindCoverage| other.resource == kind.resource;
    if all.iter().filter(twin).nth(1).is_some() {
        format!("{} {}", kind.resource, kind.version)
    } else {
        kind.resource.to_string()
    }
}

fn left_out(left: LeftOut) -> String {
    let parts: Vec<String> = [
        (left.namespace, "namespace"),
        (left.label_selector, "label selector"),
        (left.exclude_label, "exclude label"),
        (left.deleting, "being deleted"),
        (left.action, "action"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, rule)| format!("{rule} {count}"))
    .collect();
    if parts.is_empty() {
        "0".to_owned()
    } else {
        format!("{}: {}", left.total(), parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"time="2026-11-22T05:49:12Z" level=info msg="starting the backup" run=backup/velero/b
time="2026-11-22T05:49:13Z" level=info msg=coverage found=6 leftOutByDeletion=1 leftOutByExcludeLabel=1 reading="one list" resource=configmaps stored=4 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=1 reading="not read: cluster-scoped kinds are not included" related=1 resource=persistentvolumes stored=1 version=v1
{"time":"2026-11-22T05:49:13Z","level":"info","msg":"coverage","found":"0","incompleteLists":"1","reading":"one list","resource":"secrets","stored":"0","version":"v1"}
time="2026-11-22T05:49:13Z" level=info msg=coverage found=0 reading="one list" resource=services stored=0 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=0 reading="not read: resource filters" resource=nodes stored=0 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=0 reading="not read: resource filters" resource=hpas.autoscaling stored=0 version=v2
time="2026-11-22T05:49:13Z" level=info msg=coverage found=0 reading="not read: resource filters" resource=hpas.autoscaling stored=0 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=many reading="one list" resource=broken stored=0
time="2026-11-22T05:49:13Z" level=info msg="about coverage" resource=x
"#;

    #[test]
    fn statements_of_a_log() {
        let kinds = from_log(LOG);
        assert_eq!(kinds.len(), 7);
        assert_eq!(
            lines(&kinds).join("\n"),
            "\
RESOURCE           FOUND  STORED         FAILED  LEFT OUT                             READ
configmaps         6      4              0       2: exclude label 1, being deleted 1  one list
persistentvolumes  1      1 (1 related)  0       0                                    not read: cluster-scoped kinds are not included
secrets            0      0              0       0                                    one list; not to the end
Read, without objects: 1 kinds
Not read, resource filters: nodes, hpas.autoscaling v2, hpas.autoscaling v1"
        );
        assert!(lines(&[]).is_empty());
    }
}
