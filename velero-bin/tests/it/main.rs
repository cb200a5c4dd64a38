//! Tests of the whole program on the in-process API server.

mod cli;
mod direct;
mod program;
mod sandbox;
mod server;
