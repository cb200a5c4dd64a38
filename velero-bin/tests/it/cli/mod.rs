//! The command line over custom resources, with an operator in this process.

mod archives;
mod cancel;
mod certificates;
mod deletions;
mod from_schedule;
mod locations;
mod offline;
mod operated;
mod schedules;
mod status;
