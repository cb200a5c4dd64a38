//! Integration tests of the in-process API server.

mod alive;
mod basics;
mod conformance;
