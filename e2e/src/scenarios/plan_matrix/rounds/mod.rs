//! The situations.

mod mirrored;
mod needs;
mod places;
mod random;
mod refused;
mod there;

use serde_json::{Value, json};

use super::kinds::object;
use super::round::Round;

/// All rounds; the last ones are as the seed has them.
pub(super) fn all(seed: u64) -> Vec<Round> {
    vec![
        there::kinds("none", &[], "conflict"),
        there::kinds(
            "update",
            &["--existing-resource-policy", "update"],
            "update",
        ),
        there::cluster_kinds("wide-none", &[], "conflict"),
        there::cluster_kinds(
            "wide-update",
            &["--existing-resource-policy", "update"],
            "update",
        ),
        there::immutable(
            "immutable",
            &["--existing-resource-policy", "update"],
            "conflict",
        ),
        there::immutable(
            "recreate",
            &["--existing-resource-policy", "recreate"],
            "update",
        ),
        mirrored::space(),
        refused::quota(),
        refused::limits(),
        refused::admission(),
        refused::security(),
        refused::clerk(),
        places::mapped(),
        places::mapped_to_new(),
        places::merged(),
        refused::ports(),
        places::volumes(),
        places::terminating(),
        places::gone_space(),
        needs::definitions(),
        needs::undefined(),
        needs::other_definition(),
        needs::filtered(),
        needs::pods(),
        needs::pods_without(),
        random::random("random-one", seed),
        random::random("random-two", seed.wrapping_add(1)),
    ]
}

fn space(name: &str) -> Value {
    object("v1", "Namespace", json!({"metadata": {"name": name}}))
}
