//! Carrying out a plan.

mod before;
mod bulk;
mod claims;
mod create;
mod existing;
mod going;
mod item;
mod later;
mod left_out;
mod modify;
mod named;
mod namespaces;
mod ours;
mod owners;
mod rehearse;
mod related;
mod replace;
mod run;
mod run_actions;
mod spaces;
mod states;
mod status;
mod volumes;
mod waits;
mod waves;

pub(crate) use rehearse::{Rehearsal, digest, rehearse};
pub(crate) use run::{Parts, Run};
pub(crate) use volumes::Restorers;
pub(crate) use waits::FIRST_PAUSE;
pub(crate) use waves::apply;
