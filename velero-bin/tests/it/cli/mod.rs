//! The command line over custom resources, with an operator in this process.

mod deletions;
mod offline;
mod operated;
