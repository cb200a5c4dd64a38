//! Carrying out a plan.

mod create;
mod existing;
mod item;
mod modify;
mod namespaces;
mod rehearse;
mod related;
mod run;
mod run_actions;
mod states;
mod status;
mod waits;
mod waves;

pub(crate) use rehearse::{Rehearsal, rehearse};
pub(crate) use run::{Parts, Run};
pub(crate) use waves::apply;
