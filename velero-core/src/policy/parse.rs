//! From YAML to policies.

use super::{
    CapacityRange, CsiCondition, IncludeExcludePolicy, NfsCondition, ResourcePolicies,
    VolumeAction, VolumeActionKind, VolumeConditions, VolumePolicy,
};
use crate::Quantity;
use crate::result::chain;
use crate::walk::{Faults, Octal, Place, document};

const VERSION: &str = "v1";

pub(super) fn policies(yaml: &str) -> Result<ResourcePolicies, Faults> {
    let document = document(yaml, Octal::Marked).map_err(|fault| vec![fault])?;
    if document.is_null() {
        return Err(vec![format!(
            "it is empty; it needs \"version: {VERSION}\" and volumePolicies or includeExcludePolicy"
        )]);
    }
    let mut faults = Faults::new();
    let top = Place::top(&document);
    if top.object(&mut faults).is_none() {
        return Err(faults);
    }
    let fields = top.fields(
        &["version", "volumePolicies", "includeExcludePolicy"],
        &mut faults,
    );
    version(&top, fields.get("version"), &mut faults);
    let volume_policies = fields.get("volumePolicies").map_or_else(Vec::new, |list| {
        let rules = list.elements(&mut faults);
        rules.iter().map(|at| rule(at, &mut faults)).collect()
    });
    let include_exclude = fields
        .get("includeExcludePolicy")
        .map(|at| include_exclude(at, &mut faults));
    if faults.is_empty() {
        Ok(ResourcePolicies {
            volume_policies,
            include_exclude,
        })
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
    if let Some(version) = at.text(faults).filter(|version| version != VERSION) {
        at.fault(
            faults,
            format_args!("{version:?} is not known; write {VERSION}"),
        );
    }
}

fn rule(at: &Place<'_>, faults: &mut Faults) -> VolumePolicy {
    let fields = at.fields(&["conditions", "action"], faults);
    let conditions = fields
        .get("conditions")
        .map(|at| conditions(at, faults))
        .unwrap_or_default();
    let action = match fields.get("action") {
        Some(at) => action(at, faults),
        None => {
            missing_type(&at.child("action"), faults);
            VolumeAction::default()
        }
    };
    VolumePolicy { conditions, action }
}

fn action(at: &Place<'_>, faults: &mut Faults) -> VolumeAction {
    let fields = at.fields(&["type", "parameters"], faults);
    let Some(kind_at) = fields.get("type") else {
        missing_type(at, faults);
        return VolumeAction::default();
    };
    let text = kind_at.text(faults).unwrap_or_default();
    let kind = VolumeActionKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text);
    if kind.is_none() {
        kind_at.fault(
            faults,
            format_args!("{text:?} is no action; write {}", action_words()),
        );
    }
    VolumeAction {
        kind: kind.unwrap_or_default(),
        parameters: fields
            .get("parameters")
            .and_then(|at| at.object(faults))
            .cloned()
            .unwrap_or_default(),
    }
}

fn missing_type(action: &Place<'_>, faults: &mut Faults) {
    action.child("type").fault(
        faults,
        format_args!("it is missing; write {}", action_words()),
    );
}

fn action_words() -> String {
    VolumeActionKind::ALL
        .map(VolumeActionKind::as_str)
        .join(", ")
}

fn conditions(at: &Place<'_>, faults: &mut Faults) -> VolumeConditions {
    let fields = at.fields(
        &[
            "capacity",
            "storageClass",
            "nfs",
            "csi",
            "volumeTypes",
            "pvcLabels",
            "pvcPhase",
        ],
        faults,
    );
    let texts = |key: &str, faults: &mut Faults| {
        fields
            .get(key)
            .map(|at| at.texts(faults))
            .unwrap_or_default()
    };
    VolumeConditions {
        capacity: fields.get("capacity").and_then(|at| capacity(at, faults)),
        storage_class: texts("storageClass", faults),
        nfs: fields.get("nfs").map(|at| nfs(at, faults)),
        csi: fields.get("csi").map(|at| csi(at, faults)),
        volume_types: texts("volumeTypes", faults),
        pvc_labels: fields
            .get("pvcLabels")
            .map(|at| at.text_map(faults))
            .unwrap_or_default(),
        pvc_phase: texts("pvcPhase", faults),
    }
}

/// `lower,upper`, either of which may be left out.
fn capacity(at: &Place<'_>, faults: &mut Faults) -> Option<CapacityRange> {
    let text = at.text(faults)?;
    if text.is_empty() {
        return None;
    }
    let Some((lower, upper)) = text
        .split_once(',')
        .filter(|(_, upper)| !upper.contains(','))
    else {
        at.fault(
            faults,
            format_args!("{text:?} is no range; write the smallest and the largest size with a comma between, as in \"1Gi,10Gi\", \"1Gi,\" or \",10Gi\""),
        );
        return None;
    };
    let mut bound = |size: &str| {
        let size = size.trim();
        if size.is_empty() {
            return Some(Quantity::default());
        }
        match size.parse() {
            Ok(quantity) => Some(quantity),
            Err(error) => {
                at.fault(faults, format_args!("{text:?}: {}", chain(&error)));
                None
            }
        }
    };
    let (lower, upper) = (bound(lower), bound(upper));
    let range = CapacityRange {
        lower: lower?,
        upper: upper?,
    };
    if !range.upper.is_zero() && range.lower > range.upper {
        at.fault(
            faults,
            format_args!("{text:?}: the smallest size is larger than the largest; swap them"),
        );
    }
    Some(range)
}

fn nfs(at: &Place<'_>, faults: &mut Faults) -> NfsCondition {
    let fields = at.fields(&["server", "path"], faults);
    let mut text = |key: &str| {
        fields
            .get(key)
            .and_then(|at| at.text(faults))
            .unwrap_or_default()
    };
    NfsCondition {
        server: text("server"),
        path: text("path"),
    }
}

fn csi(at: &Place<'_>, faults: &mut Faults) -> CsiCondition {
    let fields = at.fields(&["driver", "volumeAttributes"], faults);
    let condition = CsiCondition {
        driver: fields
            .get("driver")
            .and_then(|at| at.text(faults))
            .unwrap_or_default(),
        volume_attributes: fields
            .get("volumeAttributes")
            .map(|at| at.text_map(faults))
            .unwrap_or_default(),
    };
    if condition.driver.is_empty() && !condition.volume_attributes.is_empty() {
        at.child("driver").fault(
            faults,
            "it is missing; volumeAttributes need the driver whose attributes they are",
        );
    }
    condition
}

fn include_exclude(at: &Place<'_>, faults: &mut Faults) -> IncludeExcludePolicy {
    let keys = [
        "includedClusterScopedResources",
        "excludedClusterScopedResources",
        "includedNamespaceScopedResources",
        "excludedNamespaceScopedResources",
    ];
    let fields = at.fields(&keys, faults);
    let mut lists = keys.map(|key| {
        let Some(at) = fields.get(key) else {
            return Vec::new();
        };
        let list = at.texts(faults);
        if list.iter().any(|name| name == "*") {
            at.fault(faults, "\"*\" cannot stand here; name the resources");
        }
        list
    });
    for (includes, excludes) in [(0, 1), (2, 3)] {
        for both in lists[includes]
            .iter()
            .filter(|n| lists[excludes].contains(n))
        {
            at.child(keys[excludes]).fault(
                faults,
                format_args!("{both:?} is in {} too; keep one", keys[includes]),
            );
        }
    }
    let mut take = |at: usize| std::mem::take(&mut lists[at]);
    IncludeExcludePolicy {
        included_cluster_scoped: take(0),
        excluded_cluster_scoped: take(1),
        included_namespace_scoped: take(2),
        excluded_namespace_scoped: take(3),
    }
}
