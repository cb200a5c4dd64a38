//! From YAML to rules.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use regex::Regex;
use serde_json::{Map, Value};

use super::conditions::{Conditions, Match};
use super::json_patch::{Op, Operation, Pointer};
use super::{Change, Rule, value};
use crate::Selector;
use crate::filter::{Glob, IncludesExcludes};
use crate::walk::{Faults, Octal, Place, document};

const VERSION: &str = "v1";
const PATCHES: &str = "patches";
const MERGE: &str = "mergePatches";
const STRATEGIC: &str = "strategicPatches";

type Fields<'a> = BTreeMap<&'a str, Place<'a>>;

pub(super) fn rules(yaml: &str) -> Result<Vec<Rule>, Faults> {
    let document = document(yaml, Octal::Plain).map_err(|fault| vec![fault])?;
    if document.is_null() {
        return Err(vec![format!(
            "it is empty; it needs \"version: {VERSION}\" and resourceModifierRules"
        )]);
    }
    let mut faults = Faults::new();
    let top = Place::top(&document);
    if top.object(&mut faults).is_none() {
        return Err(faults);
    }
    let fields = top.fields_in_any_case(&["version", "resourceModifierRules"], &mut faults);
    version(&top, fields.get("version"), &mut faults);
    let rules = match fields.get("resourceModifierRules") {
        Some(at) => at.elements(&mut faults),
        None => Vec::new(),
    };
    if rules.is_empty() {
        top.child("resourceModifierRules")
            .fault(&mut faults, "there is none; write at least one rule");
    }
    let rules: Vec<Rule> = rules
        .iter()
        .filter_map(|at| rule(at, &mut faults))
        .collect();
    if faults.is_empty() {
        Ok(rules)
    } else {
        Err(faults)
    }
}

fn version(top: &Place<'_>, at: Option<&Place<'_>>, faults: &mut Faults) {
    let Some(at) = at else {
        top.child("version")
            .fault(faults, format_args!("it is missing; write {VERSION}"));
        return;
    };
    if let Some(version) = at.text(faults)
        && !version.eq_ignore_ascii_case(VERSION)
    {
        at.fault(
            faults,
            format_args!("{version:?} is not known; write {VERSION}"),
        );
    }
}

fn rule(at: &Place<'_>, faults: &mut Faults) -> Option<Rule> {
    let fields = at.fields_in_any_case(&["conditions", PATCHES, MERGE, STRATEGIC], faults);
    let conditions = match fields.get("conditions") {
        Some(at) => conditions(at, faults),
        None => {
            missing(&at.child("conditions"), "groupResource", faults);
            None
        }
    };
    let change = change(at, &fields, faults);
    Some(Rule {
        conditions: conditions?,
        change: change?,
    })
}

fn missing(at: &Place<'_>, field: &str, faults: &mut Faults) {
    at.child(field).fault(
        faults,
        "it is missing; name the kind, as in pods, deployments.apps, *.apps, or ** for all",
    );
}

fn conditions(at: &Place<'_>, faults: &mut Faults) -> Option<Conditions> {
    let fields = at.fields_in_any_case(
        &[
            "namespaces",
            "groupResource",
            "resourceNameRegex",
            "labelSelector",
            "matches",
        ],
        faults,
    );
    let before = faults.len();
    let resource = group_resource(at, fields.get("groupResource"), faults);
    let namespaces = namespaces(fields.get("namespaces"), faults);
    let name = fields
        .get("resourceNameRegex")
        .and_then(|at| name_pattern(at, faults));
    let labels = fields
        .get("labelSelector")
        .and_then(|at| selector(at, faults));
    let list = fields
        .get("matches")
        .map_or_else(Vec::new, |at| at.elements(faults));
    let matches = list.iter().filter_map(|at| condition(at, faults)).collect();
    let (resource, resource_text) = resource.filter(|_| faults.len() == before)?;
    Some(Conditions {
        resource,
        resource_text,
        namespaces,
        name,
        labels,
        matches,
    })
}

fn group_resource(
    conditions: &Place<'_>,
    at: Option<&Place<'_>>,
    faults: &mut Faults,
) -> Option<(Glob, String)> {
    let Some(at) = at else {
        missing(conditions, "groupResource", faults);
        return None;
    };
    let text = at.text(faults)?;
    if text.is_empty() {
        missing(conditions, "groupResource", faults);
        return None;
    }
    let glob = Glob::of_parts(&text, '.');
    if glob.is_none() {
        bad_pattern(at, &text, faults);
    }
    Some((glob?, text))
}

fn bad_pattern(at: &Place<'_>, text: &str, faults: &mut Faults) {
    at.fault(
        faults,
        format_args!(
            "{text:?} is no pattern; [abc], [a-c], [!a] and {{a,b}} must be closed and not be empty"
        ),
    );
}

fn namespaces(at: Option<&Place<'_>>, faults: &mut Faults) -> IncludesExcludes {
    let names = at.map(|at| at.texts(faults)).unwrap_or_default();
    let namespaces = IncludesExcludes::new(names, std::iter::empty::<String>());
    if let Some(at) = at {
        for broken in namespaces.broken() {
            bad_pattern(at, broken.as_str(), faults);
        }
    }
    namespaces
}

fn name_pattern(at: &Place<'_>, faults: &mut Faults) -> Option<Regex> {
    let text = at.text(faults).filter(|text| !text.is_empty())?;
    match Regex::new(&text) {
        Ok(regex) => Some(regex),
        Err(error) => {
            // The last line says what is wrong, those above it where.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default();
            let why = why.strip_prefix("error: ").unwrap_or(why);
            at.fault(
                faults,
                format_args!("{text:?} is no regular expression: {why}"),
            );
            None
        }
    }
}

fn selector(at: &Place<'_>, faults: &mut Faults) -> Option<Selector> {
    let fields = at.fields_in_any_case(&["matchLabels", "matchExpressions"], faults);
    let list = fields
        .get("matchExpressions")
        .map_or_else(Vec::new, |at| at.elements(faults));
    let expressions = list.iter().map(|at| {
        let fields = at.fields_in_any_case(&["key", "operator", "values"], faults);
        let mut text = |key: &str| {
            let at = fields.get(key);
            at.and_then(|at| at.text(faults)).unwrap_or_default()
        };
        let (key, operator) = (text("key"), text("operator"));
        LabelSelectorRequirement {
            key,
            operator,
            values: fields.get("values").map(|at| at.texts(faults)),
        }
    });
    let match_expressions = Some(expressions.collect());
    let wanted = LabelSelector {
        match_labels: fields.get("matchLabels").map(|at| at.text_map(faults)),
        match_expressions,
    };
    match Selector::try_from(&wanted) {
        Ok(selector) => Some(selector),
        Err(error) => {
            at.fault(faults, error);
            None
        }
    }
}

fn condition(at: &Place<'_>, faults: &mut Faults) -> Option<Match> {
    let fields = at.fields_in_any_case(&["path", "value"], faults);
    let path = pointer(at, &fields, "path", faults);
    let value = typed(fields.get("value"), faults);
    Some(Match {
        path: path?,
        value: value?,
    })
}

/// A field that holds a JSON pointer.
fn pointer(
    parent: &Place<'_>,
    fields: &Fields<'_>,
    key: &str,
    faults: &mut Faults,
) -> Option<Pointer> {
    let text = match fields.get(key) {
        Some(at) => at.text(faults)?,
        None => String::new(),
    };
    let pointer = Pointer::new(&text);
    if pointer.is_none() {
        let what = if text.is_empty() {
            "it is missing".to_owned()
        } else {
            format!("{text:?} does not begin with a slash")
        };
        parent.child(key).fault(
            faults,
            format_args!("{what}; write it as in /spec/replicas or /metadata/labels/a~1b"),
        );
    }
    pointer
}

/// A value, whose form says what it is.
fn typed(at: Option<&Place<'_>>, faults: &mut Faults) -> Option<Value> {
    let Some(at) = at else {
        return Some(Value::String(String::new()));
    };
    match value::read(&at.scalar(faults, "put quotes around it: '{\"a\": 1}'")?) {
        Ok(value) => Some(value),
        Err(why) => {
            at.fault(faults, why);
            None
        }
    }
}

/// The patches of a rule, which are all of one sort.
fn change(at: &Place<'_>, fields: &Fields<'_>, faults: &mut Faults) -> Option<Change> {
    let mut lists: Vec<(&str, Vec<Place<'_>>)> = Vec::new();
    for key in [PATCHES, MERGE, STRATEGIC] {
        let list = fields
            .get(key)
            .map_or_else(Vec::new, |at| at.elements(faults));
        if !list.is_empty() {
            lists.push((key, list));
        }
    }
    let [(key, list)] = lists.as_slice() else {
        let what = if lists.is_empty() {
            "it has no patches".to_owned()
        } else {
            let names: Vec<&str> = lists.iter().map(|(key, _)| *key).collect();
            format!("it has {}", names.join(" and "))
        };
        at.fault(
            faults,
            format_args!("{what}; a rule has either {PATCHES}, {MERGE} or {STRATEGIC}"),
        );
        return None;
    };
    let before = faults.len();
    let change = if *key == PATCHES {
        Change::Json(list.iter().filter_map(|at| operation(at, faults)).collect())
    } else {
        let patches = list
            .iter()
            .filter_map(|at| patch_data(at, faults))
            .collect();
        if *key == MERGE {
            Change::Merge(patches)
        } else {
            Change::Strategic(patches)
        }
    };
    (faults.len() == before).then_some(change)
}

fn operation(at: &Place<'_>, faults: &mut Faults) -> Option<Operation> {
    let fields = at.fields_in_any_case(&["operation", "from", "path", "value"], faults);
    let op = op(at, fields.get("operation"), faults);
    let path = pointer(at, &fields, "path", faults);
    let has_source = op.is_some_and(Op::has_source);
    let from = if has_source {
        pointer(at, &fields, "from", faults)
    } else {
        Some(Pointer::default())
    };
    let value = if op.is_none_or(Op::has_value) {
        typed(fields.get("value"), faults)
    } else {
        Some(Value::Null)
    };
    Some(Operation {
        op: op?,
        from: from?,
        path: path?,
        value: value?,
    })
}

fn op(parent: &Place<'_>, at: Option<&Place<'_>>, faults: &mut Faults) -> Option<Op> {
    let text = match at {
        Some(at) => at.text(faults)?,
        None => String::new(),
    };
    let op = Op::ALL
        .into_iter()
        .find(|op| op.as_str().eq_ignore_ascii_case(&text));
    if op.is_none() {
        let what = if text.is_empty() {
            "it is missing".to_owned()
        } else {
            format!("{text:?} is no operation")
        };
        let words = Op::ALL.map(Op::as_str).join(", ");
        parent
            .child("operation")
            .fault(faults, format_args!("{what}; write {words}"));
    }
    op
}

/// A patch, which is a document of its own within the text of `patchData`.
fn patch_data(at: &Place<'_>, faults: &mut Faults) -> Option<Map<String, Value>> {
    let fields = at.fields_in_any_case(&["patchData"], faults);
    let text = match fields.get("patchData") {
        Some(at) => at.scalar(
            faults,
            "write it as text: \"patchData: |\" and the patch below it",
        )?,
        None => String::new(),
    };
    let fault = match document(&text, Octal::Plain) {
        Ok(Value::Object(patch)) => return Some(patch),
        Ok(Value::Null) => "it is empty; write the patch as yaml or json".to_owned(),
        Ok(_) => {
            "it is no mapping; write the fields that change with those that hold them".to_owned()
        }
        Err(fault) => fault,
    };
    at.child("patchData").fault(faults, fault);
    None
}
