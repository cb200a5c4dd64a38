//! What became of each kind, as people read it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use velero_backup::{KindCoverage, Reading};

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
    let (mut empty, mut unmatched) = (0, 0);
    let mut not_read = BTreeMap::<&str, Vec<String>>::new();
    for kind in kinds {
        match &kind.reading {
            _ if kind.found > 0 || kind.incomplete_lists > 0 => rows.push(row(kind, kinds)),
            Reading::Not(rule) => not_read.entry(rule).or_default().push(name(kind, kinds)),
            _ if kind.uncounted => unmatched += 1,
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
    if unmatched > 0 {
        out.push(format!(
            "Read, without objects that the label selector matches: {unmatched} kinds"
        ));
    }
    for (rule, names) in not_read {
        out.push(format!("Not read, {rule}: {}", names.join(", ")));
    }
    out
}

fn row(kind: &KindCoverage, all: &[KindCoverage]) -> Vec<String> {
    let mut read = kind.reading.to_string();
    if kind.incomplete_lists > 0 && !matches!(kind.reading, Reading::Not(_)) {
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
        left_out(kind),
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

fn left_out(kind: &KindCoverage) -> String {
    const UNCOUNTED: &str = "label selector: not counted";
    let (total, rules) = (kind.left_out.total(), kind.left_out);
    match (total, kind.uncounted) {
        (0, false) => "0".to_owned(),
        (0, true) => UNCOUNTED.to_owned(),
        (_, false) => format!("{total}: {rules}"),
        (_, true) => format!("{total}: {rules}; {UNCOUNTED}"),
    }
}

/// The kinds as JSON, one object each: the value of the key `coverage`, which is ours alone.
///
/// `labelSelector` of what is left out is `null` where the API server has filtered and nobody has counted.
pub(crate) fn json(kinds: &[KindCoverage]) -> Value {
    let one = |kind: &KindCoverage| {
        let left = kind.left_out;
        let by_label = match kind.uncounted {
            true => Value::Null,
            false => json!(left.label_selector),
        };
        json!({
            "resource": kind.resource.to_string(),
            "version": kind.version,
            "reading": kind.reading.to_string(),
            "read": !matches!(kind.reading, Reading::Not(_)),
            "found": kind.found,
            "stored": kind.stored,
            "related": kind.related,
            "leftOut": {
                "namespace": left.namespace,
                "labelSelector": by_label,
                "excludeLabel": left.exclude_label,
                "deletion": left.deleting,
                "action": left.action,
            },
            "failed": kind.failed,
            "incompleteLists": kind.incomplete_lists,
        })
    };
    Value::Array(kinds.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"time="2026-11-22T05:49:12Z" level=info msg="starting the backup" run=backup/velero/b
time="2026-11-22T05:49:13Z" level=info msg=coverage found=6 leftOutByDeletion=1 leftOutByExcludeLabel=1 reading="one list" resource=configmaps stored=4 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=1 reading="not read: cluster-scoped kinds are not included" related=1 resource=persistentvolumes stored=1 version=v1
{"time":"2026-11-22T05:49:13Z","level":"info","msg":"coverage","found":"0","incompleteLists":"1","reading":"one list","resource":"secrets","stored":"0","version":"v1"}
time="2026-11-22T05:49:13Z" level=info msg=coverage found=0 reading="one list" resource=services stored=0 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=0 incompleteLists=1 reading="not read: group books.io/v1 is unavailable: down" resource=*.books.io stored=0 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=3 labelSelector=uncounted leftOutByDeletion=1 reading="one list" resource=roles stored=2 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=2 labelSelector=uncounted reading="one list" resource=jobs stored=2 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=0 labelSelector=uncounted reading="one list" resource=leases stored=0 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=0 reading="not read: resource filters" resource=nodes stored=0 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=0 reading="not read: resource filters" resource=hpas.autoscaling stored=0 version=v2
time="2026-11-22T05:49:13Z" level=info msg=coverage found=0 reading="not read: resource filters" resource=hpas.autoscaling stored=0 version=v1
time="2026-11-22T05:49:13Z" level=info msg=coverage found=many reading="one list" resource=broken stored=0
time="2026-11-22T05:49:13Z" level=info msg="about coverage" resource=x
"#;

    #[test]
    fn statements_of_a_log() {
        let kinds = from_log(LOG);
        assert_eq!(kinds.len(), 11);
        assert_eq!(
            lines(&kinds).join("\n"),
            "\
RESOURCE           FOUND  STORED         FAILED  LEFT OUT                                         READ
configmaps         6      4              0       2: exclude label 1, being deleted 1              one list
persistentvolumes  1      1 (1 related)  0       0                                                not read: cluster-scoped kinds are not included
secrets            0      0              0       0                                                one list; not to the end
*.books.io         0      0              0       0                                                not read: group books.io/v1 is unavailable: down
roles              3      2              0       1: being deleted 1; label selector: not counted  one list
jobs               2      2              0       label selector: not counted                      one list
Read, without objects: 1 kinds
Read, without objects that the label selector matches: 1 kinds
Not read, resource filters: nodes, hpas.autoscaling v2, hpas.autoscaling v1"
        );
        let json = json(&kinds);
        assert_eq!(
            json[0],
            json!({"resource": "configmaps", "version": "v1", "reading": "one list", "read": true, "found": 6, "stored": 4,
                "related": 0, "leftOut": {"namespace": 0, "labelSelector": 0, "excludeLabel": 1, "deletion": 1, "action": 0},
                "failed": 0, "incompleteLists": 0})
        );
        assert_eq!(
            (&json[5]["leftOut"]["labelSelector"], &json[4]["read"]),
            (&Value::Null, &json!(false))
        );
        assert!(lines(&[]).is_empty());
    }
}
