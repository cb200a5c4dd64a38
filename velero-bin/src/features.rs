//! Features that are off unless they are asked for.

use std::collections::BTreeSet;

/// Reads every version of a kind that the cluster serves, not the preferred one alone.
const ALL_API_VERSIONS: &str = "EnableAPIGroupVersions";

/// CSI snapshots, and nothing else.
const CSI: &str = "EnableCSI";

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

    /// Whether backups hold every version of a kind, and restores choose among those.
    pub fn all_api_versions(&self) -> bool {
        self.names.contains(ALL_API_VERSIONS)
    }

    /// A line for each name that changes nothing. To the peer a name that it does not know is no fault either.
    pub fn warnings(&self) -> Vec<String> {
        let without_effect = |name: &&String| *name != ALL_API_VERSIONS;
        self.names
            .iter()
            .filter(without_effect)
            .map(|name| match name.as_str() {
                CSI => format!(
                    "the feature {name:?} changes nothing: this version makes no CSI snapshots"
                ),
                _ => format!("there is no feature {name:?}"),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are() {
        let features = Features::new(["EnableCSI", "", "EnableAPIGroupVersions", "Novelty"]);
        assert!(features.all_api_versions());
        assert_eq!(
            features.warnings(),
            [
                "the feature \"EnableCSI\" changes nothing: this version makes no CSI snapshots",
                "there is no feature \"Novelty\""
            ]
        );
        assert!(!Features::new(["enableapigroupversions"]).all_api_versions());
    }
}
