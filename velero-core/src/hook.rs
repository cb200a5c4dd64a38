//! Hooks as data: which commands run in which containers around the backup of a pod.
//!
//! Nothing here runs a command. Mirrors the parsing half of upstream's `internal/hook/item_hook_handler.go`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::api::{
    BackupHooks, BackupResourceHook, BackupResourceHookSpec, ExecHook, HookErrorMode,
};
use crate::filter::IncludesExcludes;
use crate::names::annotations::backup_hook;
use crate::result::chain;
use crate::{Catalog, GoDuration, GroupResource, Selector};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
        let mut keys: Vec<_> = self.calls.iter().map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    }

    /// How many of these hooks failed, by the places of `calls` that did; counted as [`PodHooks::count`] does.
    pub fn count_of(&self, places: impl IntoIterator<Item = usize>) -> usize {
        let mut keys: Vec<_> = places
            .into_iter()
            .filter_map(|at| self.calls.get(at).map(key))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    }
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
mod tests {
    use super::*;
    use crate::ApiResource;
    use serde_json::{Value, json};

    fn annotations(value: Value) -> BTreeMap<String, String> {
        serde_json::from_value(value).unwrap()
    }

    fn rules(resources: Value) -> Result<BackupHookRules, Vec<String>> {
        let pods = ApiResource {
            version: "v1".into(),
            kind: "Pod".into(),
            plural: "pods".into(),
            singular: "pod".into(),
            short_names: vec!["po".into()],
            namespaced: true,
            preferred: true,
            ..ApiResource::default()
        };
        let hooks: BackupHooks = serde_json::from_value(json!({"resources": resources})).unwrap();
        BackupHookRules::compile(&hooks, &Catalog::new(vec![pods], Vec::new()))
    }

    #[test]
    fn annotations_of_all_prefixes() {
        use HookPhase::{Post, Pre};
        for (given, phase, command) in [
            (
                json!({"pre.hook.backup.velero.io/command": "sync"}),
                Pre,
                Some("sync"),
            ),
            (
                json!({"hook.backup.velero.io/command": "old"}),
                Pre,
                Some("old"),
            ),
            (
                json!({"hook.backup.velero.io/command": "old", "pre.hook.backup.velero.io/command": "new"}),
                Pre,
                Some("new"),
            ),
            (json!({"pre.hook.backup.velero.io/command": ""}), Pre, None),
            (
                json!({"pre.hook.backup.velero.io/container": "c"}),
                Pre,
                None,
            ),
            (
                json!({"pre.hook.backup.velero.io/command": "sync"}),
                Post,
                None,
            ),
            (json!({"hook.backup.velero.io/command": "old"}), Post, None),
            (
                json!({"post.hook.backup.velero.io/command": "thaw"}),
                Post,
                Some("thaw"),
            ),
            (
                json!({"post.hook.backup.velero.io/command": "thaw"}),
                Pre,
                None,
            ),
        ] {
            let found = hook_of_annotations(&annotations(given.clone()), phase);
            let found = found.map(|(call, _)| call.command.join(" "));
            assert_eq!(found.as_deref(), command, "{given} {phase}");
        }
    }

    #[test]
    fn old_keys_are_read_as_a_set() {
        let given = annotations(json!({
            "hook.backup.velero.io/command": "old", "hook.backup.velero.io/container": "a",
            "hook.backup.velero.io/on-error": "Fail", "pre.hook.backup.velero.io/container": "b"
        }));
        let (call, _) = hook_of_annotations(&given, HookPhase::Pre).unwrap();
        assert_eq!(
            (call.container.as_deref(), call.fails_pod()),
            (Some("a"), true)
        );
    }

    #[test]
    fn commands_are_lists_or_one_argument() {
        for (text, expected) in [
            (r#"["/bin/sh", "-c", "a b"]"#, vec!["/bin/sh", "-c", "a b"]),
            ("/bin/echo a b", vec!["/bin/echo a b"]),
            ("[ -f /x ]", vec!["[ -f /x ]"]),
            (r#"["a", 1]"#, vec![r#"["a", 1]"#]),
            (r#" ["a"]"#, vec![r#" ["a"]"#]),
            ("[]", vec![]),
        ] {
            assert_eq!(parse_command(text), expected, "{text}");
        }
    }

    #[test]
    fn modes_and_timeouts_of_annotations() {
        let pre = |key: &str| format!("pre.hook.backup.velero.io/{key}");
        for (mode, timeout, fails, seconds, warns) in [
            ("Fail", "5s", true, 5, None),
            ("Continue", "1m30s", false, 90, None),
            ("", "", false, 30, None),
            (
                "fail",
                "0s",
                false,
                30,
                Some("on-error: \"fail\" is neither "),
            ),
            (
                "Never",
                "5s",
                false,
                5,
                Some("on-error: \"Never\" is neither "),
            ),
            ("Fail", "-3s", true, 30, None),
            (
                "Fail",
                "10",
                true,
                30,
                Some("timeout: \"10\" is no duration"),
            ),
        ] {
            let given = BTreeMap::from([
                (pre("command"), "x".to_owned()),
                (pre("on-error"), mode.to_owned()),
                (pre("timeout"), timeout.to_owned()),
            ]);
            let (call, warnings) = hook_of_annotations(&given, HookPhase::Pre).unwrap();
            let found = (call.fails_pod(), call.timeout.as_secs());
            assert_eq!(found, (fails, seconds), "{mode} {timeout}");
            let warns: Vec<String> = warns.iter().map(|text| pre(text)).collect();
            assert_eq!(warnings.len(), warns.len(), "{warnings:?}");
            for (warning, text) in warnings.iter().zip(&warns) {
                assert!(
                    warning.starts_with(&format!("annotation {text}")),
                    "{warning}"
                );
            }
        }
    }

    #[test]
    fn annotations_of_a_phase_hide_the_spec_of_that_phase() {
        let both = json!([{"name": "h", "pre": [{"exec": {"command": ["spec"]}}], "post": [{"exec": {"command": ["spec"]}}]}]);
        let rules = rules(both).unwrap();
        let own = annotations(json!({"pre.hook.backup.velero.io/command": "own"}));
        for (phase, command) in [(HookPhase::Pre, "own"), (HookPhase::Post, "spec")] {
            let hooks = rules.of_pod("a", &BTreeMap::new(), &own, phase);
            assert_eq!(hooks.calls[0].command, [command]);
            assert_eq!(hooks.calls.len(), 1);
        }
    }

    #[test]
    fn entries_that_match_run_in_order() {
        let exec =
            |text: &str| json!({"exec": {"command": [text], "container": "c", "timeout": "7s"}});
        let rules = rules(json!([
            {"name": "one", "includedNamespaces": ["team-*"], "pre": [exec("1a"), exec("1b")]},
            {"name": "two", "excludedNamespaces": ["team-x"], "includedResources": ["po"], "pre": [exec("2")]},
            {"name": "three", "labelSelector": {"matchLabels": {"app": "db"}}, "pre": [exec("3")]},
            {"name": "four", "includedResources": ["deployments"], "pre": [exec("4")]},
            {"name": "five", "excludedResources": ["Pods"], "pre": [exec("5")]},
            {"name": "six", "includedResources": ["*"], "post": [exec("6")]},
        ]))
        .unwrap();
        let db = BTreeMap::from([("app".to_owned(), "db".to_owned())]);
        let none = BTreeMap::new();
        for (namespace, labels, expected) in [
            ("team-a", &none, vec!["1a", "1b", "2"]),
            ("team-x", &none, vec!["1a", "1b"]),
            ("team-x", &db, vec!["1a", "1b", "3"]),
            ("shop", &db, vec!["2", "3"]),
        ] {
            let hooks = rules.of_pod(namespace, labels, &none, HookPhase::Pre);
            let found: Vec<_> = hooks.calls.iter().map(|c| c.command[0].as_str()).collect();
            assert_eq!(found, expected, "{namespace} {labels:?}");
            assert!(hooks.calls.iter().all(|c| c.timeout.as_secs() == 7));
        }
        let post = rules.of_pod("shop", &none, &none, HookPhase::Post);
        assert_eq!(post.calls[0].to_string(), "hook \"six\"[0]");
        assert_eq!(
            rules.notes(),
            ["four", "five"].map(|name| format!(
                "spec.hooks.resources[{}]: hook {name:?} never runs: its includedResources and excludedResources leave out pods",
                if name == "four" { 3 } else { 4 }
            ))
        );
    }

    #[test]
    fn modes_that_are_none_are_noted() {
        let exec = |mode: &str| json!({"exec": {"command": ["a"], "onError": mode}});
        let rules = rules(json!([
            {"name": "h", "pre": [exec("Fail"), exec("fail")], "post": [exec("")]},
        ]))
        .unwrap();
        assert_eq!(
            rules.notes(),
            [
                "spec.hooks.resources[0].pre[1].exec.onError: \"fail\" is neither Continue nor Fail; Continue is taken"
            ]
        );
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_place() {
        let faults = rules(json!([
            {"name": "ok", "pre": [{"exec": {"command": ["a"]}}]},
            {"name": "bad", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]},
                "post": [{"exec": {"command": []}}]},
        ]))
        .unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(
            faults[0].starts_with("spec.hooks.resources[1].labelSelector: "),
            "{faults:?}"
        );
        assert!(
            faults[1].starts_with("spec.hooks.resources[1].post[0].exec.command: "),
            "{faults:?}"
        );
    }

    #[test]
    fn equal_keys_count_once() {
        let exec = json!({"exec": {"command": ["a"]}});
        let other = json!({"exec": {"command": ["a"], "container": "c"}});
        let rules = rules(json!([
            {"name": "h", "pre": [exec, exec]}, {"name": "h", "pre": [exec]}, {"name": "h", "pre": [other]}, {"name": "i", "pre": [exec]},
        ]))
        .unwrap();
        let hooks = rules.of_pod("a", &BTreeMap::new(), &BTreeMap::new(), HookPhase::Pre);
        assert_eq!(
            (hooks.calls.len(), hooks.count(), hooks.count_of([0, 2, 4])),
            (5, 4, 2)
        );
    }
}
