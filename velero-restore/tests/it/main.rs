//! Integration tests of the restore engine.
