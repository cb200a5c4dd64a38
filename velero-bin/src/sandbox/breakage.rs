//! Faults put in on purpose, to show that the comparison finds them.

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use velero_testkit::ApiServer;

use super::NAMESPACE;

/// What to do to an object between restore and comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Breakage {
    /// Take one away.
    Delete,
    /// Change one field of one.
    Change,
}

/// The object that is broken.
const VICTIM: &str = "settings";

impl Breakage {
    pub(super) fn apply(self, server: &ApiServer) -> Result<()> {
        let store = server.store();
        let mut object = store
            .get("v1", "ConfigMap", Some(NAMESPACE), VICTIM)
            .with_context(|| format!("there is no ConfigMap {VICTIM}"))?;
        if !store.remove("v1", "ConfigMap", Some(NAMESPACE), VICTIM) {
            bail!("ConfigMap {VICTIM} cannot be removed");
        }
        if self == Self::Change {
            object["data"]["theme"] = json!("broken");
            store
                .seed_value(object)
                .context("the changed object cannot be put back")?;
        }
        Ok(())
    }
}
