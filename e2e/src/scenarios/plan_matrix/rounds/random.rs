//! Objects of all kinds in situations that a seed chooses.

use super::super::kinds::namespaced;
use super::super::round::Change::{Delete, Keep, Patch};
use super::super::round::Round;

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Two objects of each kind, each gone, as it was, or changed, under one of the policies.
pub(super) fn random(name: &'static str, seed: u64) -> Round {
    let mut dice = Dice(seed);
    let (flags, differs): (&[&'static str], _) = match dice.below(3) {
        0 => (&[], "conflict"),
        1 => (&["--existing-resource-policy", "update"], "update"),
        _ => (&["--existing-resource-policy", "recreate"], "update"),
    };
    let mut round = Round::new(name, flags);
    for (object, patch) in namespaced() {
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        for place in ["first", "second"] {
            let (change, expected) = match dice.below(3) {
                0 => (Delete, "create"),
                1 => (Keep, "skip-identical"),
                // Accounts are united with what the cluster has, whatever the policy.
                _ if kind == "serviceaccount" => (Patch(patch.clone()), "update"),
                _ => (Patch(patch.clone()), differs),
            };
            round.add(&object, &format!("{kind}-{place}"), change, expected);
        }
    }
    round
}
