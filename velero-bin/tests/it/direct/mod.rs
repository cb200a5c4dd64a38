//! Direct mode.

mod faults;
mod round_trip;
mod s3;
mod selection;
