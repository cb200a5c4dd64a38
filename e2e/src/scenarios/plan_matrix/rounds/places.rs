//! Objects whose namespaces or volumes are others, or going, or gone.

use serde_json::{Value, json};

use super::super::kinds::{
    binding, claim, config_map, named, object, pod, role, secret, service, volume, workload,
};
use super::super::round::Change::{Delete, Keep, Replace};
use super::super::round::Round;
use super::space;

pub(super) fn mapped() -> Round {
    let mut round = Round::new("mapped", &["--namespace-mappings", "m-mapped:m-target"]);
    round.mapping = vec![("m-mapped", "m-target")];
    round.surroundings.push(space("m-target"));
    let there = |object: &Value, name: &str| named(object, "m-target", name);
    round.obstacles = vec![
        there(&config_map("ours"), "equal"),
        there(&config_map("theirs"), "differs"),
        there(&secret("ours"), "equal"),
        there(&secret("theirs"), "differs"),
        there(&service(json!({})), "equal"),
        there(&service(json!({"sessionAffinity": "ClientIP"})), "differs"),
        there(&role("Role"), "equal"),
    ];
    let mut bound = binding("RoleBinding", "Role", "equal");
    bound["subjects"] =
        json!([{"kind": "ServiceAccount", "namespace": "m-mapped", "name": "runner"}]);
    let mut moved = bound.clone();
    moved["subjects"][0]["namespace"] = json!("m-target");
    round.obstacles.push(there(&moved, "equal"));
    round.obstacles.push(there(&bound, "differs"));
    round
        .add(&config_map("ours"), "absent", Keep, "create")
        .add(&config_map("ours"), "equal", Keep, "skip-identical")
        .add(&config_map("ours"), "differs", Keep, "conflict")
        .add(&secret("ours"), "absent", Keep, "create")
        .add(&secret("ours"), "equal", Keep, "skip-identical")
        .add(&secret("ours"), "differs", Keep, "conflict")
        .add(&service(json!({})), "absent", Keep, "create")
        .add(&service(json!({})), "equal", Keep, "skip-identical")
        .add(&service(json!({})), "differs", Keep, "conflict")
        .add(&role("Role"), "absent", Keep, "create")
        .add(&role("Role"), "equal", Keep, "skip-identical")
        .add(&bound, "absent", Keep, "create")
        .add(&bound, "equal", Keep, "skip-identical")
        .add(&bound, "differs", Keep, "conflict")
        .add(&workload("Deployment", "d"), "absent", Keep, "create")
        .add(&pod(), "absent", Keep, "create");
    round
}

pub(super) fn mapped_to_new() -> Round {
    let mut round = Round::new("copied", &["--namespace-mappings", "m-copied:m-copy"]);
    round.mapping = vec![("m-copied", "m-copy")];
    let account = object("v1", "ServiceAccount", json!({}));
    for object in [
        config_map("ours"),
        secret("ours"),
        service(json!({})),
        role("Role"),
        account,
        claim("nobody"),
        workload("Deployment", "d"),
        pod(),
    ] {
        round.add(&object, "one", Keep, "create, unverified");
    }
    round
}

/// Two namespaces become one.
pub(super) fn merged() -> Round {
    let mut round = Round::new(
        "merged",
        &["--namespace-mappings", "m-merged:m-both,m-second:m-both"],
    );
    round.mapping = vec![("m-merged", "m-both"), ("m-second", "m-both")];
    round.surroundings = vec![space("m-second"), space("m-both")];
    round
        .add(&config_map("first"), "both", Keep, "create")
        .add(&config_map("first"), "first", Keep, "create")
        .add(&secret("first"), "both", Keep, "create");
    round.put(
        named(&config_map("second"), "m-second", "both"),
        Keep,
        "excluded",
    );
    round.put(
        named(&config_map("second"), "m-second", "second"),
        Keep,
        "create",
    );
    round.put(
        named(&secret("second"), "m-second", "both"),
        Keep,
        "excluded",
    );
    round
}

pub(super) fn volumes() -> Round {
    let mut round = Round::new("volumes", &["--existing-resource-policy", "update"]);
    let bound = |name: &str, claim: &str| {
        let mut volume = named(&volume("/volumes"), "", name);
        volume["spec"]["claimRef"] = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "m-volumes", "name": claim});
        volume
    };
    let claiming = |name: &str, volume: &str| {
        let mut claim = named(&claim("nowhere"), "m-volumes", name);
        claim["spec"]["volumeName"] = json!(volume);
        claim
    };
    let mut short_lived = named(&volume("/short-lived"), "", "m-volumes-short-lived");
    short_lived["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
    round.obstacles = vec![claiming("thief", "m-volumes-taken")];
    round
        .put(bound("m-volumes-kept", "kept"), Keep, "skip-identical")
        .put(claiming("kept", "m-volumes-kept"), Keep, "skip-identical")
        .put(
            bound("m-volumes-taken", "robbed"),
            Replace(bound("m-volumes-taken", "thief")),
            "conflict",
        )
        .put(
            named(&volume("/lost"), "", "m-volumes-lost"),
            Delete,
            "create",
        )
        .put(short_lived, Delete, "excluded")
        .add(&claim("nobody"), "unbound", Delete, "create");
    round
}

pub(super) fn terminating() -> Round {
    let mut round = Round::new("terminating", &["--terminating-resource-timeout", "2s"]);
    let mut stays = named(&config_map("x"), "m-terminating", "stays");
    stays["metadata"]["finalizers"] = json!(["matrix.example.com/stays"]);
    round.surroundings.push(stays);
    round.deleted = vec![("m-terminating", false)];
    for object in [
        config_map("ours"),
        secret("ours"),
        pod(),
        workload("Deployment", "d"),
    ] {
        round.add(&object, "one", Keep, "blocked");
    }
    round
}

/// The namespace is gone, too.
pub(super) fn gone_space() -> Round {
    let mut round = Round::new("gone", &[]);
    round.deleted = vec![("m-gone", true)];
    for object in [
        config_map("ours"),
        secret("ours"),
        pod(),
        service(json!({})),
        claim("nobody"),
    ] {
        round.add(&object, "one", Keep, "create, unverified");
    }
    round
}
