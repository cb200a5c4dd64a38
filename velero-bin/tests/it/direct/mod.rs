//! Direct mode.

mod coverage;
mod faults;
mod inputs;
mod killed;
mod mirror;
mod peer;
mod plan;
mod policies;
mod random_points;
mod round_trip;
mod s3;
mod selection;
mod spool;
mod store_faults;
mod volumes;
