//! The environment variables a location may depend on.

use std::collections::BTreeMap;

/// Beginnings of the variables that are looked at.
const PREFIXES: [&str; 5] = ["AWS_", "AZURE_", "GCE_", "GOOGLE_", "VELERO_"];

/// Environment variables as a value, so that tests and embedders need not change the process.
///
/// Only variables that begin with `AWS_`, `AZURE_`, `GCE_`, `GOOGLE_` and `VELERO_` are taken from the process. `Debug` prints names, not values.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Takes what the process has.
    pub fn process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
            .collect()
    }

    /// An environment without variables.
    pub fn empty() -> Self {
        Self::default()
    }

    /// All variables.
    pub(crate) fn variables(&self) -> std::collections::HashMap<String, String> {
        let pairs = self.0.iter();
        pairs.map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Returns a variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        Self(
            vars.into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
