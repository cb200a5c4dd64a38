//! Direct mode.

mod coverage;
mod faults;
mod identity;
mod inputs;
mod killed;
mod left_out;
mod mirror;
mod peer;
mod plan;
mod plan_streamed;
mod policies;
mod random_points;
mod round_trip;
mod s3;
mod selection;
mod spool;
mod store_faults;
mod volumes;
