//! The registry: one module for each scenario, one line for each in [`all`].

mod api_conformance;
mod control_plane_up;
mod migrate;

use crate::scenario::{Scenario, scenario};

/// All scenarios, in the order in which they run.
#[must_use]
pub fn all() -> Vec<Scenario> {
    vec![
        scenario!(
            "control-plane-up",
            "the control plane itself: pods run, claims bind, exec and the audit log work",
            smoke: true,
            minutes: 5,
            control_plane_up::run
        ),
        scenario!(
            "api-conformance",
            "the checks of the in-process API server hold on the real one",
            smoke: true,
            minutes: 5,
            api_conformance::run
        ),
        scenario!(
            "migrate",
            "a mixed world moves to another cluster through a bucket, and nothing is lost",
            smoke: true,
            minutes: 10,
            migrate::run
        ),
    ]
}
