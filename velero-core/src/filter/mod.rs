//! What a run takes and leaves: glob patterns, include/exclude lists and the scope rules over them.

mod glob;
mod lists;
mod namespaces;
mod pattern;
mod scope;

pub(crate) use glob::Glob;
pub use lists::{IncludesExcludes, validate_lists, validate_namespace_lists};
pub use namespaces::NamespaceFilter;
pub use pattern::Pattern;
pub use scope::{ResourceFilterSpec, ScopeFilter, validate_scoped_lists};
