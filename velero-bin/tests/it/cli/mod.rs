//! The command line over custom resources, with an operator in this process.

mod cancel;
mod deletions;
mod from_schedule;
mod offline;
mod operated;
