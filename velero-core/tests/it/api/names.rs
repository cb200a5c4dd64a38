use velero_core::names::{self, name_or_hash, valid_label_name};

const LONG: &str = "this_is_a_very_long_label_value_that_will_be_rejected_by_Kubernetes";

#[test]
fn long_label_values_are_cut_and_hashed() {
    let at_limit = "b".repeat(names::MAX_LABEL_VALUE);
    assert_eq!(valid_label_name(""), "");
    assert_eq!(valid_label_name("short"), "short");
    assert_eq!(valid_label_name(&at_limit), at_limit);
    assert_eq!(
        valid_label_name(LONG),
        "this_is_a_very_long_label_value_that_will_be_rejected_by_8d0722"
    );
    assert_eq!(
        valid_label_name(&"a".repeat(64)),
        format!("{}ffe054", "a".repeat(57))
    );
}

#[test]
fn a_cut_never_splits_a_character() {
    let value = "ü".repeat(40);
    let label = valid_label_name(&value);
    assert!(label.starts_with(&"ü".repeat(28)));
    assert_eq!(label.len(), 56 + 6);
}

#[test]
fn long_names_become_a_hash() {
    assert_eq!(name_or_hash("ns.claim"), "ns.claim");
    assert_eq!(
        name_or_hash(LONG),
        "1a7399f2d00e268fc12daf431d6667319d1461e2609981070bb7e85c"
    );
}
