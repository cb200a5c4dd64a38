//! Object keys: what is allowed in one, and how a prefix goes in front.

use crate::error::{Error, Result};

/// Checks a key: segments joined by `/`, none empty, none `.` or `..`.
///
/// A key becomes a path in file system stores, and object stores treat blanks at its ends
/// differently, so both are refused everywhere rather than behaving differently by store.
pub(crate) fn check(key: &str) -> Result<()> {
    let expected = if key.is_empty() {
        "a key has at least one character"
    } else if key.len() > 1024 {
        "a key has at most 1024 bytes"
    } else if key.trim() != key {
        "a key neither begins nor ends with a blank"
    } else if key.chars().any(char::is_control) {
        "a key has no control characters"
    } else if key.contains('\\') {
        "a key has no backslash"
    } else if key.split('/').any(|s| matches!(s, "" | "." | "..")) {
        "its parts between slashes are neither empty nor '.' nor '..'"
    } else {
        return Ok(());
    };
    Err(Error::InvalidName {
        what: "object key",
        value: key.to_owned(),
        expected,
    })
}

/// Checks a listing prefix: empty, or a key followed by one `/`.
pub(crate) fn check_prefix(prefix: &str) -> Result<()> {
    if prefix.is_empty() {
        return Ok(());
    }
    match prefix.strip_suffix('/') {
        Some(key) => check(key),
        None => Err(Error::InvalidName {
            what: "listing prefix",
            value: prefix.to_owned(),
            expected: "a prefix is empty or ends with '/'",
        }),
    }
}

/// Trims the slashes around a configured prefix and checks what is left.
pub(crate) fn normalize_root(field: &str, prefix: &str) -> Result<String> {
    let trimmed = prefix.trim_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    check(trimmed).map_err(|err| match err {
        Error::InvalidName { expected, .. } => Error::config(field, prefix, expected),
        other => other,
    })?;
    Ok(format!("{trimmed}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_would_behave_differently_by_store_are_refused() {
        let long = "k".repeat(1025);
        for bad in [
            "", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", " a", "a ", "a\n", "a\0b",
            "a\\b", &long,
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b.tar.gz", "ä ö/+%=&?#", "a b", "...", "a/.hidden"] {
            assert!(check(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn prefixes_end_with_a_slash() {
        assert!(check_prefix("").is_ok());
        assert!(check_prefix("a/b/").is_ok());
        assert!(check_prefix("a").is_err());
        assert!(check_prefix("/").is_err());
        assert!(check_prefix("../").is_err());
    }

    #[test]
    fn configured_prefixes_lose_their_outer_slashes() {
        for (given, want) in [("", ""), ("/", ""), ("a", "a/"), ("//a/b//", "a/b/")] {
            assert_eq!(normalize_root("prefix", given).unwrap(), want);
        }
        let err = normalize_root("prefix", "a/../b").unwrap_err().to_string();
        assert!(err.starts_with("prefix \"a/../b\" is not valid"), "{err}");
    }
}
