//! velero
fn main() {}
