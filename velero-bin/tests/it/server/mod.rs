//! The operator on the in-process API server.

mod backups;
mod deletions;
mod downloads;
mod locations;
mod operations;
mod policies;
mod restores;
mod s3;
mod sync;
mod world;

pub(crate) use world::gunzip;
