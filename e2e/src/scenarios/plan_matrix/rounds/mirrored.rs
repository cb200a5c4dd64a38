//! A namespace that is to be exactly what was backed up.

use serde_json::json;

use super::super::kinds::{
    claim, config_map, named, namespaced, object, pod, role, secret, service, workload,
};
use super::super::round::Change::{Come, Delete, Keep, Patch, Replace};
use super::super::round::Round;

/// The kinds are named: the backup goes by labels, which may have been others then.
const KINDS: &str = "configmaps,secrets,services,roles.rbac.authorization.k8s.io,persistentvolumeclaims,deployments.apps,\
                     pods,limitranges,serviceaccounts,leases.coordination.k8s.io";

pub(super) fn space() -> Round {
    let flags = [
        "--existing-resource-policy",
        "mirror",
        "--include-namespaces",
        "m-mirror",
        "--include-resources",
        KINDS,
    ];
    let mut round = Round::new("mirror", &flags);
    let named_kinds = ["ConfigMap", "Secret", "Role", "LimitRange", "Lease"];
    let mut kinds = namespaced();
    kinds.retain(|(object, _)| named_kinds.contains(&object["kind"].as_str().unwrap_or_default()));
    round.thrice(kinds, false, "update");
    for object in [
        config_map("since"),
        secret("since"),
        service(json!({})),
        role("Role"),
        claim("nobody"),
        workload("Deployment", "since"),
        pod(),
    ] {
        round.add(&object, "since", Come, "delete");
    }
    let mut held = config_map("since");
    held["metadata"]["annotations"] = json!({"matrix.example.com/note": "since"});
    round.add(&held, "noted", Come, "delete");
    let mut typed = secret("ours");
    typed["type"] = json!("matrix.example.com/theirs");
    round
        .add(&secret("ours"), "type", Replace(typed), "update")
        .add(&config_map("ours"), "gone", Delete, "create")
        .add(&config_map("ours"), "here", Keep, "skip-identical")
        .add(
            &config_map("ours"),
            "other",
            Patch(json!({"data": {"more": "theirs"}})),
            "update",
        );
    // Without the label of the backup, by which nobody looks for it.
    let mut left = named(&config_map("theirs"), &round.space(), "unlabelled");
    left["metadata"]["labels"] = json!({"matrix.example.com/other": "1"});
    round.surroundings.push(left);
    // What nobody has asked to be mirrored.
    let policy = object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        json!({"spec": {"podSelector": {}}}),
    );
    round.obstacles.push(named(&policy, &round.space(), "kept"));
    round
}
