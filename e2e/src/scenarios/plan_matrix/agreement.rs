//! What a plan has said, beside what a restore has made of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// How reasons begin where an object is to be deleted and created anew.
pub(super) const RECREATE: &str = "recreate:";

fn text<'a>(item: &'a Value, field: &str) -> &'a str {
    item[field].as_str().unwrap_or_default()
}

/// `v1/ConfigMap shop/settings`.
pub(super) fn key(item: &Value) -> String {
    match text(item, "namespace") {
        "" => format!("{} {}", text(item, "kind"), text(item, "name")),
        namespace => format!("{} {namespace}/{}", text(item, "kind"), text(item, "name")),
    }
}

/// The verdict with what limits it.
pub(super) fn summary(item: &Value) -> String {
    let mut said = text(item, "verdict").to_owned();
    if item["unverified"] == true {
        said.push_str(", unverified");
    }
    said
}

/// What a restore has written about its items.
pub(super) struct Outcomes {
    /// `created`, `updated`, `skipped`, `failed`, `deleted`, by kind and name.
    actions: BTreeMap<String, String>,
    /// Resource, namespace and name of what errors are about.
    errors: BTreeSet<(String, String, String)>,
    warnings: BTreeSet<(String, String, String)>,
}

impl Outcomes {
    /// Reads the artifacts of a restore in the folder of a bucket.
    pub(super) fn read(bucket: &Path, restore: &str) -> Result<Self> {
        let folder = bucket.join("restores").join(restore);
        let list = unpacked(&folder.join(format!("restore-{restore}-resource-list.json.gz")))?;
        let results = unpacked(&folder.join(format!("restore-{restore}-results.gz")))?;
        let mut actions = BTreeMap::new();
        for (kind, entries) in list.as_object().context("no list of items")? {
            for entry in entries.as_array().into_iter().flatten() {
                let entry = entry.as_str().unwrap_or_default();
                let (name, action) = entry
                    .rsplit_once('(')
                    .context("an item without an action")?;
                let action = action.trim_end_matches(')').to_owned();
                actions.insert(format!("{kind} {name}"), action);
            }
        }
        Ok(Self {
            actions,
            errors: about(&results["errors"]),
            warnings: about(&results["warnings"]),
        })
    }
}

impl Outcomes {
    /// What the restore says that it has done with an item; empty where it says nothing.
    pub(super) fn action(&self, item: &Value) -> &str {
        self.actions.get(&key(item)).map_or("", String::as_str)
    }
}

fn unpacked(path: &Path) -> Result<Value> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut text = String::new();
    MultiGzDecoder::new(file).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// What messages of one weight are about: lines of the form ` resource: /pods name: /web error: /...`.
fn about(side: &Value) -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    let mut take = |namespace: &str, lines: &Value| {
        for line in lines.as_array().into_iter().flatten() {
            let line = line.as_str().unwrap_or_default();
            let part = |word: &str| {
                let rest = line.split_once(word).map(|(_, rest)| rest);
                let word = rest.and_then(|rest| rest.split(' ').next());
                word.unwrap_or_default().to_owned()
            };
            all.insert((part("resource: /"), namespace.to_owned(), part("name: /")));
        }
    };
    take("", &side["cluster"]);
    for (namespace, lines) in side["namespaces"].as_object().into_iter().flatten() {
        take(namespace, lines);
    }
    all
}

/// Where the restore has done something else than the plan has said.
pub(super) fn disagreements(plan: &[Value], outcomes: &Outcomes) -> Vec<String> {
    let mut faults = Vec::new();
    let mut planned = BTreeSet::new();
    for item in plan {
        let key = key(item);
        planned.insert(key.clone());
        let is_alone = plan.iter().filter(|other| self::key(other) == key).count() == 1;
        let verdict = text(item, "verdict");
        if verdict == "excluded" && !is_alone {
            // Another item has come to its name.
            continue;
        }
        let subject = ["resource", "namespace", "name"].map(|field| text(item, field).to_owned());
        let subject: (String, String, String) = subject.into();
        let (errors, warnings) = (
            outcomes.errors.contains(&subject),
            outcomes.warnings.contains(&subject),
        );
        let action = outcomes.action(item);
        let is_space = text(item, "kind") == "v1/Namespace";
        let agrees = match verdict {
            "create" => action == "created",
            // Namespaces that are there are not listed.
            "skip-identical" => action == "skipped" || (is_space && action.is_empty()),
            // What no patch can change is deleted and created, and listed so.
            "update" if text(item, "reason").starts_with(RECREATE) => action == "created",
            "update" => action == "updated",
            "conflict" if is_space => action.is_empty() && warnings && !errors,
            "conflict" => action == "failed" && warnings && !errors,
            "delete" => action == "deleted" && !errors,
            "blocked" => (action == "failed" || action.is_empty()) && errors,
            "excluded" => action == "skipped" || action.is_empty(),
            _ => false,
        };
        let says_error = item["error"] == true;
        if !agrees || says_error != errors {
            faults.push(format!(
                "the plan says {item}, and the restore has {action:?} with errors: {errors}, warnings: {warnings}"
            ));
        }
    }
    for (key, action) in &outcomes.actions {
        if !planned.contains(key) {
            faults.push(format!(
                "the restore has {action} {key}, which is not in the plan"
            ));
        }
    }
    faults
}
