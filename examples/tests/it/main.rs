//! What the documents say about the code is true.

// All of this binary is tests; clippy itself spares only the functions marked so.
#![allow(clippy::unwrap_used, clippy::panic)]

mod compat;
mod programs;
