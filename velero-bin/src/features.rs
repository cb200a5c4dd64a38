//! Features that are off unless they are asked for.

use std::collections::BTreeSet;

/// Reads every version of a kind that the cluster serves, not the preferred one alone.
const ALL_API_VERSIONS: &str = "EnableAPIGroupVersions";

/// The peer's other features. What they switch on is not there yet, or is there without them.
const OTHERS: [&str; 1] = ["EnableCSI"];

/// The features that are switched on, as `--features` and the config file name them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features {
    names: BTreeSet<String>,
}

impl Features {
    /// Takes names as they are written; empty ones count for nothing.
    pub fn new<I: IntoIterator<Item = S>, S: AsRef<str>>(names: I) -> Self {
        let names = names
            .into_iter()
            .map(|name| name.as_ref().trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        Self { names }
    }

    /// Whether backups hold every version of a kind.
    pub fn all_api_versions(&self) -> bool {
        self.names.contains(ALL_API_VERSIONS)
    }

    /// The names that nothing here goes by: to the peer they are no fault either.
    pub fn without_effect(&self) -> Vec<&str> {
        let known = |name: &&str| *name != ALL_API_VERSIONS;
        self.names
            .iter()
            .map(String::as_str)
            .filter(known)
            .collect()
    }

    /// Whether a name is one of the peer's.
    pub fn is_known(name: &str) -> bool {
        name == ALL_API_VERSIONS || OTHERS.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are() {
        let features = Features::new(["EnableCSI", "", "EnableAPIGroupVersions", "Novelty"]);
        assert!(features.all_api_versions());
        assert_eq!(features.without_effect(), ["EnableCSI", "Novelty"]);
        assert!(Features::is_known("EnableCSI") && !Features::is_known("Novelty"));
        assert!(!Features::new(["enableapigroupversions"]).all_api_versions());
    }
}
