//! What a run takes and leaves: glob patterns, include/exclude lists and the scope rules over them.

mod lists;
mod pattern;
mod scope;

pub use lists::{IncludesExcludes, validate_lists, validate_namespace_lists};
pub use pattern::Pattern;
pub use scope::{NamespaceFilter, ResourceFilterSpec, ScopeFilter};
