//! The command line over custom resources, with an operator in this process.

mod offline;
mod operated;
