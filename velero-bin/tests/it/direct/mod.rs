//! Direct mode.

mod faults;
mod peer;
mod policies;
mod round_trip;
mod s3;
mod selection;
mod store_faults;
