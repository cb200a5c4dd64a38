//! Integration tests of the in-process API server.

mod basics;
