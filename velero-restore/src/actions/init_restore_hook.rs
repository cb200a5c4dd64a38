//! Init containers that hooks of a restore add to pods.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use velero_core::action::{
    ActionContext, ActionError, Effects, ResourceSelector, RestoreInput, RestoreItemAction,
    RestoreOutcome, text,
};
use velero_core::api::{Restore, RestoreHooks};
use velero_core::filter::IncludesExcludes;
use velero_core::hook::parse_command;
use velero_core::names::annotations::restore_hook;
use velero_core::names::hex;
use velero_core::result::chain;
use velero_core::{ItemTree, Selector};

use super::pod_volume_restore::WAITING;

/// `velero.io/init-restore-hook`: init containers of hooks go in front of those that a pod has.
///
/// A pod's annotations replace what the spec says. An init container that the pod has under the same name, from an earlier
/// restore, is replaced, as names must differ. Mirrors `InitContainerRestoreHookHandler` in upstream's
/// `internal/hook/item_hook_handler.go`.
#[derive(Debug, Clone, Default)]
pub struct InitRestoreHook {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    namespaces: IncludesExcludes,
    labels: Selector,
    containers: Vec<Value>,
}

impl InitRestoreHook {
    /// Compiles the hooks of a spec.
    ///
    /// # Errors
    /// One line for each fault: a label selector that cannot be used, a container without name, image or command.
    pub fn compile(hooks: &RestoreHooks) -> Result<Self, Vec<String>> {
        let (mut rules, mut faults) = (Vec::new(), Vec::new());
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
            let mut containers = Vec::new();
            for (step, hook) in spec.post_hooks.iter().enumerate() {
                let init = hook.init.iter().flat_map(|init| &init.init_containers);
                for (place, container) in init.enumerate() {
                    let field = format!("{field}.postHooks[{step}].init.initContainers[{place}]");
                    faults.extend(container_faults(&field, container));
                    containers.push(container.clone());
                }
            }
            rules.push(Rule {
                namespaces: IncludesExcludes::new(
                    spec.included_namespaces.iter().cloned(),
                    spec.excluded_namespaces.iter().cloned(),
                ),
                labels,
                containers,
            });
        }
        if faults.is_empty() {
            Ok(Self { rules })
        } else {
            Err(faults)
        }
    }

    /// The containers for a pod that comes into `namespace`.
    fn containers(&self, pod: &ItemTree, namespace: &str) -> Vec<Value> {
        if let Some(container) = of_annotations(pod) {
            return vec![container];
        }
        let labels = pod.labels();
        self.rules
            .iter()
            .filter(|rule| {
                rule.namespaces.should_include(namespace) && rule.labels.matches(&labels)
            })
            .flat_map(|rule| rule.containers.iter().cloned())
            .collect()
    }
}

/// What an init container of a spec lacks.
fn container_faults(field: &str, container: &Value) -> Option<String> {
    let has_command = container
        .get("command")
        .and_then(Value::as_array)
        .is_some_and(|command| !command.is_empty());
    let missing: Vec<&str> = [
        ("name", !text(container, "name").is_empty()),
        ("image", !text(container, "image").is_empty()),
        ("command", has_command),
    ]
    .into_iter()
    .filter_map(|(what, there)| (!there).then_some(what))
    .collect();
    (!missing.is_empty()).then(|| {
        format!(
            "{field}: it has no {}; name, image and command must be given",
            missing.join(", no ")
        )
    })
}

/// The container that a pod's annotations ask for. Without a command the image's own one runs.
fn of_annotations(pod: &ItemTree) -> Option<Value> {
    let annotations: BTreeMap<String, String> = pod.annotations();
    let get = |key: &str| {
        let value = annotations.get(key).map(String::as_str);
        value.filter(|text| !text.is_empty())
    };
    let image = get(restore_hook::INIT_CONTAINER_IMAGE)?;
    let command = get(restore_hook::INIT_COMMAND);
    let name = match get(restore_hook::INIT_CONTAINER_NAME) {
        Some(name) => name.to_owned(),
        None => made_name(image, command.unwrap_or_default()),
    };
    let mut container = json!({"image": image, "name": name});
    if let Some(command) = command {
        container["command"] = json!(parse_command(command));
    }
    Some(container)
}

/// A name for a container that has none: the same one each time, so that a second restore finds the pod as it is.
fn made_name(image: &str, command: &str) -> String {
    let digest = Sha256::new()
        .chain_update(image)
        .chain_update([0])
        .chain_update(command)
        .finalize();
    format!("velero-restore-init-{}", hex(&digest[..4]))
}

#[async_trait]
impl RestoreItemAction for InitRestoreHook {
    fn name(&self) -> &str {
        "velero.io/init-restore-hook"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["pods"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        cx: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let mut item = input.item;
        let source = item.namespace();
        let target = cx.run.spec.namespace_mapping.get(source);
        let added = self.containers(&item, target.map_or(source, String::as_str));
        if !added.is_empty() && item.at("/spec").is_some_and(Value::is_object) {
            let names: Vec<&str> = added.iter().map(|c| text(c, "name")).collect();
            let mut there = item.array_at("/spec/initContainers").to_vec();
            there.retain(|container| !names.contains(&text(container, "name")));
            let waits = there
                .first()
                .is_some_and(|first| WAITING.contains(&text(first, "name")));
            let at = usize::from(waits);
            there.splice(at..at, added);
            item.object_mut("spec")
                .insert("initContainers".into(), Value::Array(there));
        }
        Ok(RestoreOutcome::create(item))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}
