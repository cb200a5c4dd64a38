//! Objects that a backup does not have, which the policy `mirror` deletes.
//!
//! They are looked for when a plan is made, listed in it one by one, and deleted after the items of the backup are
//! restored, by the plan alone. What is looked at is what both the restore and the backup select: [`scope`]. What
//! stays all the same, because somebody else decides about it, is told with the reason: [`stays`].

mod backed_up;
mod contents;
mod delete;
mod family;
mod find;
mod found;
mod gone;
mod look;
mod newer;
mod scope;
mod spaces;
mod stays;
mod tell;
mod trial;

pub use backed_up::{BackedUp, KindRead};
pub(crate) use delete::delete;
pub(crate) use find::find;
pub(crate) use found::{Found, Search, Unwanted};

/// What is said where a restore is to delete objects and no plan lists them.
pub const MIRROR_NEEDS_PLAN: &str = "existing resource policy \"mirror\" deletes objects, and only those that a plan lists: \
     make a plan with \"velero direct plan -o json\", look at its deletions, and carry it out with \"velero direct restore --plan-file\"";
