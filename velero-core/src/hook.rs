//! Hooks as data: which commands run in which containers around the backup of a pod.
//!
//! Nothing here runs a command. Mirrors the parsing half of upstream's `internal/hook/item_hook_handler.go`.

mod restore;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{
    BackupHooks, BackupResourceHook, BackupResourceHookSpec, ExecHook, HookErrorMode,
};
use crate::filter::IncludesExcludes;
use crate::names::annotations::backup_hook;
use crate::result::chain;
use crate::{Catalog, GoDuration, GroupResource, Selector};

pub use restore::{RestoreHookCall, RestoreHookRules, RestoredPodHooks};

/// How long a hook may run when nothing else is said.
pub const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookPhase {
    /// Before the first item of the pod's block is handled.
    Pre,
    /// After the last item of the pod's block was handled.
    Post,
}

impl fmt::Display for HookPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pre => "pre",
            Self::Post => "post",
        })
    }
}

/// Where a hook is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HookSource {
    /// In the pod's annotations.
    Annotation,
    /// In the spec of the backup or restore.
    Spec,
}

impl fmt::Display for HookSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Annotation => "annotation",
            Self::Spec => "spec",
        })
    }
}

/// One command to run in a container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecHookCall {
    /// Name of the spec's entry; empty for annotations.
    pub name: String,
    /// Where it is written.
    pub source: HookSource,
    /// Place in the list of its entry, from 0.
    pub index: usize,
    /// Container; `None` stands for the first one of the pod.
    pub container: Option<String>,
    /// The command and its arguments, without a shell.
    pub command: Vec<String>,
    /// What a failure means. Only an explicit `Fail` ends the work on the pod, as in the peer.
    pub on_error: Option<HookErrorMode>,
    /// How long it may run.
    pub timeout: Duration,
}

impl ExecHookCall {
    /// Whether a failure ends the work on the pod. A mode that is not set counts as `Continue`.
    pub fn fails_pod(&self) -> bool {
        self.on_error == Some(HookErrorMode::Fail)
    }

    fn from_spec(name: &str, index: usize, exec: &ExecHook) -> Self {
        Self {
            name: name.to_owned(),
            source: HookSource::Spec,
            index,
            container: Some(exec.container.clone()).filter(|c| !c.is_empty()),
            command: exec.command.clone(),
            on_error: exec.on_error.clone(),
            timeout: timeout_or_default(exec.timeout),
        }
    }
}

impl fmt::Display for ExecHookCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            HookSource::Annotation => f.write_str("hook of the pod's annotations"),
            HookSource::Spec => write!(f, "hook {:?}[{}]", self.name, self.index),
        }
    }
}

fn timeout_or_default(timeout: GoDuration) -> Duration {
    if timeout.is_zero() || timeout.is_negative() {
        DEFAULT_HOOK_TIMEOUT
    } else {
        timeout.to_std()
    }
}

/// The hooks of one pod for one phase.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodHooks {
    /// The hooks, in the order in which they run.
    pub calls: Vec<ExecHookCall>,
    /// What is wrong with how they are written and was passed over.
    pub warnings: Vec<String>,
}

impl PodHooks {
    /// How many hooks these are: those that share name, source, container and place count once, as in the peer.
    pub fn count(&self) -> usize {
        count_distinct(&self.calls)
    }

    /// How many of these hooks failed, by the places of `calls` that did; counted as [`PodHooks::count`] does.
    pub fn count_of(&self, places: impl IntoIterator<Item = usize>) -> usize {
        count_distinct(places.into_iter().filter_map(|at| self.calls.get(at)))
    }
}

/// How many hooks of one pod these are: those that share name, source, container and place count once, as in the peer.
pub fn count_distinct<'a>(calls: impl IntoIterator<Item = &'a ExecHookCall>) -> usize {
    let mut keys: Vec<_> = calls.into_iter().map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}

fn key(call: &ExecHookCall) -> (&str, HookSource, Option<&str>, usize) {
    (
        &call.name,
        call.source,
        call.container.as_deref(),
        call.index,
    )
}

/// Reads the hook that a pod's annotations ask for in one phase.
///
/// Before the backup, the keys with `pre.` win over the older ones without. The texts say what in the annotations is wrong
/// and was passed over.
pub fn hook_of_annotations(
    annotations: &BTreeMap<String, String>,
    phase: HookPhase,
) -> Option<(ExecHookCall, Vec<String>)> {
    match phase {
        HookPhase::Pre => read_annotations(annotations, backup_hook::PRE_PREFIX)
            .or_else(|| read_annotations(annotations, backup_hook::PRE_PREFIX_OLD)),
        HookPhase::Post => read_annotations(annotations, backup_hook::POST_PREFIX),
    }
}

fn read_annotations(
    annotations: &BTreeMap<String, String>,
    prefix: &str,
) -> Option<(ExecHookCall, Vec<String>)> {
    let get = |key: &str| {
        annotations
            .get(&format!("{prefix}{key}"))
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    };
    let command = parse_command(get(backup_hook::COMMAND)?);
    let mut warnings = Vec::new();
    let timeout = match get(backup_hook::TIMEOUT).map(|text| (text, text.parse::<GoDuration>())) {
        None => DEFAULT_HOOK_TIMEOUT,
        Some((_, Ok(timeout))) => timeout_or_default(timeout),
        Some((text, Err(error))) => {
            warnings.push(format!(
                "annotation {prefix}{}: {text:?} is no duration ({}); 30s is taken",
                backup_hook::TIMEOUT,
                chain(&error)
            ));
            DEFAULT_HOOK_TIMEOUT
        }
    };
    let on_error = get(backup_hook::ON_ERROR).map(HookErrorMode::from);
    if let Some(mode) = on_error.as_ref().and_then(unknown_mode) {
        let key = backup_hook::ON_ERROR;
        warnings.push(format!("annotation {prefix}{key}: {mode}"));
    }
    let call = ExecHookCall {
        name: String::new(),
        source: HookSource::Annotation,
        index: 0,
        container: get(backup_hook::CONTAINER).map(str::to_owned),
        command,
        on_error: on_error
            .filter(|mode| matches!(mode, HookErrorMode::Continue | HookErrorMode::Fail)),
        timeout,
    };
    Some((call, warnings))
}

/// What is wrong with a mode that is set and not known.
fn unknown_mode(mode: &HookErrorMode) -> Option<String> {
    match mode {
        HookErrorMode::Unknown(word) if !word.is_empty() => Some(format!(
            "{word:?} is neither Continue nor Fail; Continue is taken"
        )),
        _ => None,
    }
}

/// Reads a command as annotations hold it: a JSON list of strings, or else one argument, which no shell splits.
pub fn parse_command(text: &str) -> Vec<String> {
    if text.starts_with('[')
        && let Ok(list) = serde_json::from_str(text)
    {
        return list;
    }
    vec![text.to_owned()]
}

/// The hooks of a backup's spec, compiled against what a cluster serves.
#[derive(Debug, Clone, Default)]
pub struct BackupHookRules {
    rules: Vec<Rule>,
    notes: Vec<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    namespaces: IncludesExcludes,
    labels: Selector,
    pre: Vec<ExecHookCall>,
    post: Vec<ExecHookCall>,
}

impl BackupHookRules {
    /// Compiles the hooks of a spec.
    ///
    /// # Errors
    /// One line for each fault: a label selector that cannot be used, a hook without a command.
    pub fn compile(hooks: &BackupHooks, catalog: &Catalog) -> Result<Self, Vec<String>> {
        let (mut faults, mut notes) = (Vec::new(), Vec::new());
        let mut rules = Vec::new();
        for (at, spec) in hooks.resources.iter().enumerate() {
            let field = format!("spec.hooks.resources[{at}]");
            let labels = spec
                .label_selector
                .as_ref()
                .map(Selector::try_from)
                .transpose()
                .unwrap_or_else(|error| {
                    faults.push(format!("{field}.labelSelector: {}", chain(&error)));
                    None
                })
                .unwrap_or_default();
            check_commands(&format!("{field}.pre"), &spec.pre_hooks, &mut faults);
            check_commands(&format!("{field}.post"), &spec.post_hooks, &mut faults);
            note_modes(&format!("{field}.pre"), &spec.pre_hooks, &mut notes);
            note_modes(&format!("{field}.post"), &spec.post_hooks, &mut notes);
            if takes_pods(spec, catalog) {
                rules.push(Rule {
                    namespaces: IncludesExcludes::new(
                        spec.included_namespaces.iter().cloned(),
                        spec.excluded_namespaces.iter().cloned(),
                    ),
                    labels,
                    pre: calls(&spec.name, &spec.pre_hooks),
                    post: calls(&spec.name, &spec.post_hooks),
                });
            } else {
                notes.push(format!(
                    "{field}: hook {:?} never runs: its includedResources and excludedResources leave out pods",
                    spec.name
                ));
            }
        }
        if faults.is_empty() {
            Ok(Self { rules, notes })
        } else {
            Err(faults)
        }
    }

    /// What in the spec has no effect, or another one than it seems: one message each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The hooks of one pod for one phase: those of its annotations if there are any, otherwise those of every entry
    /// that matches, in the order of the spec.
    pub fn of_pod(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
        phase: HookPhase,
    ) -> PodHooks {
        if let Some((call, warnings)) = hook_of_annotations(annotations, phase) {
            return PodHooks {
                calls: vec![call],
                warnings,
            };
        }
        let calls = self
            .rules
            .iter()
            .filter(|r| r.namespaces.should_include(namespace) && r.labels.matches(labels))
            .flat_map(|r| match phase {
                HookPhase::Pre => &r.pre,
                HookPhase::Post => &r.post,
            })
            .cloned()
            .collect();
        PodHooks {
            calls,
            warnings: Vec::new(),
        }
    }
}

fn calls(name: &str, hooks: &[BackupResourceHook]) -> Vec<ExecHookCall> {
    hooks
        .iter()
        .enumerate()
        .map(|(index, hook)| ExecHookCall::from_spec(name, index, &hook.exec))
        .collect()
}

fn check_commands(field: &str, hooks: &[BackupResourceHook], faults: &mut Vec<String>) {
    for (at, hook) in hooks.iter().enumerate() {
        if hook.exec.command.is_empty() {
            faults.push(format!(
                "{field}[{at}].exec.command: it is empty; name a command"
            ));
        }
    }
}

fn note_modes(field: &str, hooks: &[BackupResourceHook], notes: &mut Vec<String>) {
    for (at, hook) in hooks.iter().enumerate() {
        if let Some(mode) = hook.exec.on_error.as_ref().and_then(unknown_mode) {
            notes.push(format!("{field}[{at}].exec.onError: {mode}"));
        }
    }
}

/// Commands run in pods only, so an entry that does not take pods says nothing.
fn takes_pods(spec: &BackupResourceHookSpec, catalog: &Catalog) -> bool {
    let resolve = |names: &[String]| -> Vec<String> {
        names
            .iter()
            .map(|name| match name.as_str() {
                "*" => name.clone(),
                _ => catalog.resolve_or_keep(name).to_string(),
            })
            .collect()
    };
    IncludesExcludes::new(
        resolve(&spec.included_resources),
        resolve(&spec.excluded_resources),
    )
    .should_include(&GroupResource::core("pods").to_string())
}

#[cfg(test)]
mod tests;
