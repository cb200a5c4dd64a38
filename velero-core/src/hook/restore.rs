//! Commands that run in the pods that a restore has created.
//!
//! Nothing here runs a command. Mirrors the restore half of upstream's `internal/hook/item_hook_handler.go`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    DEFAULT_HOOK_TIMEOUT, ExecHookCall, HookSource, parse_command, timeout_or_default, unknown_mode,
};
use crate::api::{ExecRestoreHook, HookErrorMode, RestoreHooks};
use crate::filter::IncludesExcludes;
use crate::names::annotations::restore_hook;
use crate::result::chain;
use crate::{GoDuration, Selector};

/// One command to run in a container of a restored pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreHookCall {
    /// The command, and what its failure means: an explicit `Fail` stops the later hooks of the pod.
    pub call: ExecHookCall,
    /// How long its container may take to come up; `None` when the hook says nothing.
    pub wait: Option<Duration>,
    /// Whether its container must be ready, and not only running.
    pub ready: bool,
}

impl RestoreHookCall {
    fn from_spec(name: &str, index: usize, exec: &ExecRestoreHook) -> Self {
        Self {
            call: ExecHookCall {
                name: name.to_owned(),
                source: HookSource::Spec,
                index,
                container: Some(exec.container.clone()).filter(|c| !c.is_empty()),
                command: exec.command.clone(),
                on_error: exec.on_error.clone(),
                timeout: timeout_or_default(exec.exec_timeout),
            },
            wait: limit(exec.wait_timeout),
            ready: exec.wait_for_ready == Some(true),
        }
    }
}

/// A wait of zero, or less, says nothing.
fn limit(wait: GoDuration) -> Option<Duration> {
    (!wait.is_zero() && !wait.is_negative()).then(|| wait.to_std())
}

/// The hooks of one restored pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoredPodHooks {
    /// The hooks, in the order in which those of one container run.
    pub calls: Vec<RestoreHookCall>,
    /// What is wrong with how they are written and was passed over.
    pub warnings: Vec<String>,
}

/// The commands that a restore's spec has for pods.
#[derive(Debug, Clone, Default)]
pub struct RestoreHookRules {
    rules: Vec<Rule>,
    notes: Vec<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    namespaces: IncludesExcludes,
    labels: Selector,
    calls: Vec<RestoreHookCall>,
}

impl RestoreHookRules {
    /// Compiles the commands of a spec; init containers are passed over. Whatever resources an entry names, it is for
    /// pods, as with the peer.
    ///
    /// # Errors
    /// One line for each fault: a label selector that cannot be used, a hook without a command.
    pub fn compile(hooks: &RestoreHooks) -> Result<Self, Vec<String>> {
        let (mut out, mut faults) = (Self::default(), Vec::new());
        for (at, spec) in hooks.resources.iter().enumerate() {
            let field = format!("hooks.resources[{at}]");
            let labels = match spec.label_selector.as_ref().map(Selector::try_from) {
                None => Selector::default(),
                Some(Ok(labels)) => labels,
                Some(Err(error)) => {
                    faults.push(format!("{field}.labelSelector: {}", chain(&error)));
                    continue;
                }
            };
            let mut calls = Vec::new();
            for (index, hook) in spec.post_hooks.iter().enumerate() {
                let Some(exec) = &hook.exec else {
                    continue;
                };
                let field = format!("{field}.postHooks[{index}].exec");
                if exec.command.is_empty() {
                    faults.push(format!("{field}.command: it is empty; name a command"));
                }
                if let Some(mode) = exec.on_error.as_ref().and_then(unknown_mode) {
                    out.notes.push(format!("{field}.onError: {mode}"));
                }
                calls.push(RestoreHookCall::from_spec(&spec.name, index, exec));
            }
            if !calls.is_empty() {
                out.rules.push(Rule {
                    namespaces: IncludesExcludes::new(
                        spec.included_namespaces.iter().cloned(),
                        spec.excluded_namespaces.iter().cloned(),
                    ),
                    labels,
                    calls,
                });
            }
        }
        if faults.is_empty() {
            Ok(out)
        } else {
            Err(faults)
        }
    }

    /// What in the spec has another effect than it seems: one message each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The hooks of one pod, by its namespace in the cluster: that of its annotations if there is one, otherwise those
    /// of every entry that matches, in the order of the spec.
    pub fn of_pod(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> RestoredPodHooks {
        if let Some(hooks) = of_annotations(annotations) {
            return hooks;
        }
        let calls = self
            .rules
            .iter()
            .filter(|r| r.namespaces.should_include(namespace) && r.labels.matches(labels))
            .flat_map(|r| r.calls.iter().cloned())
            .collect();
        RestoredPodHooks {
            calls,
            warnings: Vec::new(),
        }
    }
}

/// The hook that a pod's annotations ask for.
fn of_annotations(annotations: &BTreeMap<String, String>) -> Option<RestoredPodHooks> {
    let get = |key: &'static str| {
        let value = annotations.get(key).map(String::as_str);
        value.filter(|text| !text.is_empty())
    };
    let command = parse_command(get(restore_hook::POST_COMMAND)?);
    let mut warnings = Vec::new();
    let mut duration = |key: &'static str, instead: &str| {
        let text = get(key)?;
        match text.parse::<GoDuration>() {
            Ok(duration) => Some(duration),
            Err(error) => {
                warnings.push(format!(
                    "annotation {key}: {text:?} is no duration ({}); {instead}",
                    chain(&error)
                ));
                None
            }
        }
    };
    let timeout = duration(restore_hook::POST_EXEC_TIMEOUT, "30s is taken")
        .map_or(DEFAULT_HOOK_TIMEOUT, timeout_or_default);
    let wait = duration(
        restore_hook::POST_WAIT_TIMEOUT,
        "it is waited as if there were none",
    )
    .and_then(limit);
    let on_error = get(restore_hook::POST_ON_ERROR).map(HookErrorMode::from);
    if let Some(mode) = on_error.as_ref().and_then(unknown_mode) {
        warnings.push(format!(
            "annotation {}: {mode}",
            restore_hook::POST_ON_ERROR
        ));
    }
    let key = restore_hook::POST_WAIT_FOR_READY;
    let ready = get(key).is_some_and(|text| {
        go_bool(text).unwrap_or_else(|| {
            warnings.push(format!(
                "annotation {key}: {text:?} is neither \"true\" nor \"false\"; \"false\" is taken"
            ));
            false
        })
    });
    let call = ExecHookCall {
        name: String::new(),
        source: HookSource::Annotation,
        index: 0,
        container: get(restore_hook::POST_CONTAINER).map(str::to_owned),
        command,
        on_error: on_error
            .filter(|mode| matches!(mode, HookErrorMode::Continue | HookErrorMode::Fail)),
        timeout,
    };
    Some(RestoredPodHooks {
        calls: vec![RestoreHookCall { call, wait, ready }],
        warnings,
    })
}

/// What Go's `strconv.ParseBool` makes of a text.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rules(resources: Value) -> Result<RestoreHookRules, Vec<String>> {
        let hooks: RestoreHooks = serde_json::from_value(json!({"resources": resources})).unwrap();
        RestoreHookRules::compile(&hooks)
    }

    fn post(hooks: Value) -> BTreeMap<String, String> {
        let given: BTreeMap<String, String> = serde_json::from_value(hooks).unwrap();
        let key = |key: String| format!("post.hook.restore.velero.io/{key}");
        given.into_iter().map(|(k, v)| (key(k), v)).collect()
    }

    #[test]
    fn annotations_with_defaults() {
        let seconds = |s: u64| Some(Duration::from_secs(s));
        for (given, container, mode, times, ready, warned) in [
            (json!({"command": "x"}), None, None, (30, None), false, None),
            (
                json!({"command": "x", "container": "c", "on-error": "Fail", "exec-timeout": "1m", "wait-timeout": "5m",
                    "wait-for-ready": "true"}),
                Some("c"),
                Some(HookErrorMode::Fail),
                (60, seconds(300)),
                true,
                None,
            ),
            (
                json!({"command": "x", "on-error": "fail"}),
                None,
                None,
                (30, None),
                false,
                Some("on-error: \"fail\" is neither "),
            ),
            (
                json!({"command": "x", "exec-timeout": "soon"}),
                None,
                None,
                (30, None),
                false,
                Some("exec-timeout: \"soon\" is no duration"),
            ),
            (
                json!({"command": "x", "wait-timeout": "5"}),
                None,
                None,
                (30, None),
                false,
                Some("wait-timeout: \"5\" is no duration"),
            ),
            (
                json!({"command": "x", "wait-timeout": "-5s", "exec-timeout": "0s"}),
                None,
                None,
                (30, None),
                false,
                None,
            ),
            (
                json!({"command": "x", "wait-for-ready": "yes"}),
                None,
                None,
                (30, None),
                false,
                Some("wait-for-ready: \"yes\" is neither "),
            ),
            (
                json!({"command": "x", "wait-for-ready": "T"}),
                None,
                None,
                (30, None),
                true,
                None,
            ),
        ] {
            let found = of_annotations(&post(given.clone())).unwrap();
            let [hook] = found.calls.as_slice() else {
                panic!("{given}: {found:?}")
            };
            assert_eq!(hook.call.container.as_deref(), container, "{given}");
            assert_eq!(hook.call.on_error, mode, "{given}");
            let found_times = (hook.call.timeout.as_secs(), hook.wait);
            assert_eq!((found_times, hook.ready), (times, ready), "{given}");
            match warned {
                None => assert_eq!(found.warnings, Vec::<String>::new(), "{given}"),
                Some(text) => {
                    let start = format!("annotation post.hook.restore.velero.io/{text}");
                    assert!(found.warnings[0].starts_with(&start), "{found:?}");
                }
            }
        }
        for none in [json!({}), json!({"command": ""}), json!({"container": "c"})] {
            assert_eq!(of_annotations(&post(none.clone())), None, "{none}");
        }
    }

    #[test]
    fn entries_that_match_in_their_order_with_their_places() {
        let exec = |text: &str| json!({"exec": {"command": [text], "waitTimeout": "7s"}});
        let init = json!({"init": {"initContainers": []}});
        let rules = rules(json!([
            {"name": "one", "includedNamespaces": ["team-*"], "postHooks": [exec("1a"), init, exec("1b")]},
            {"name": "two", "excludedNamespaces": ["team-x"], "includedResources": ["deployments"], "postHooks": [exec("2")]},
            {"name": "three", "labelSelector": {"matchLabels": {"app": "db"}}, "postHooks": [exec("3")]},
            {"name": "four", "postHooks": [init]},
        ]))
        .unwrap();
        let db = BTreeMap::from([("app".to_owned(), "db".to_owned())]);
        let none = BTreeMap::new();
        let own = post(json!({"command": "own"}));
        for (namespace, labels, annotations, expected) in [
            ("team-a", &none, &none, vec![("1a", 0), ("1b", 2), ("2", 0)]),
            ("team-x", &db, &none, vec![("1a", 0), ("1b", 2), ("3", 0)]),
            ("shop", &db, &none, vec![("2", 0), ("3", 0)]),
            ("team-a", &db, &own, vec![("own", 0)]),
        ] {
            let hooks = rules.of_pod(namespace, labels, annotations);
            let found: Vec<(&str, usize)> = hooks
                .calls
                .iter()
                .map(|hook| (hook.call.command[0].as_str(), hook.call.index))
                .collect();
            assert_eq!(found, expected, "{namespace} {labels:?}");
        }
    }

    #[test]
    fn faults_and_notes_name_their_place() {
        let faults = rules(json!([
            {"name": "a", "postHooks": [{"init": {}}, {"exec": {"command": []}}]},
            {"name": "b", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
        ]));
        let faults = faults.unwrap_err();
        assert_eq!(
            faults[0],
            "hooks.resources[0].postHooks[1].exec.command: it is empty; name a command"
        );
        assert!(faults[1].starts_with("hooks.resources[1].labelSelector: "));
        let odd = rules(
            json!([{"name": "a", "postHooks": [{"exec": {"command": ["x"], "onError": "fail"}}]}]),
        );
        assert_eq!(
            odd.unwrap().notes(),
            [
                "hooks.resources[0].postHooks[0].exec.onError: \"fail\" is neither Continue nor Fail; Continue is taken"
            ]
        );
    }
}
