//! Include and exclude lists.

use super::Pattern;

/// Two lists of names or globs: excludes win; an empty include list takes everything.
///
/// Mirrors upstream's `pkg/util/collections/includes_excludes.go`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IncludesExcludes {
    includes: Vec<Pattern>,
    excludes: Vec<Pattern>,
}

impl IncludesExcludes {
    /// Compiles both lists.
    pub fn new<I, E>(includes: I, excludes: E) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
        E: IntoIterator,
        E::Item: Into<String>,
    {
        Self {
            includes: includes.into_iter().map(Pattern::new).collect(),
            excludes: excludes.into_iter().map(Pattern::new).collect(),
        }
    }

    /// Takes everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Whether `name` is taken. A bare `*` among the excludes is ignored, as the peer's engine does.
    pub fn should_include(&self, name: &str) -> bool {
        if self
            .excludes
            .iter()
            .any(|p| p.as_str() != "*" && p.matches(name))
        {
            return false;
        }
        self.includes.is_empty() || self.includes.iter().any(|p| p.matches(name))
    }

    /// Whether nothing is left out: no excludes, and no includes or `*` among them.
    pub fn includes_everything(&self) -> bool {
        self.excludes.is_empty() && (self.includes.is_empty() || self.includes_star())
    }

    /// Whether `*` is among the includes.
    pub fn includes_star(&self) -> bool {
        self.includes.iter().any(|p| p.as_str() == "*")
    }

    /// The includes as given.
    pub fn includes(&self) -> impl Iterator<Item = &Pattern> {
        self.includes.iter()
    }

    /// The excludes as given.
    pub fn excludes(&self) -> impl Iterator<Item = &Pattern> {
        self.excludes.iter()
    }

    /// Whether both lists are empty.
    pub fn is_empty(&self) -> bool {
        self.includes.is_empty() && self.excludes.is_empty()
    }
}

/// Checks an include/exclude pair; gives one message for each fault.
///
/// `what` names the pair in the messages: `namespaces`, `resources`.
pub fn validate_lists(what: &str, includes: &[String], excludes: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    if includes.len() > 1 && includes.iter().any(|i| i == "*") {
        faults.push(format!(
            "included {what}: \"*\" must stand alone, or be left out"
        ));
    }
    if excludes.iter().any(|e| e == "*") {
        faults.push(format!(
            "excluded {what}: \"*\" would leave nothing; name what to leave out"
        ));
    }
    for both in includes.iter().filter(|i| excludes.contains(i)) {
        faults.push(format!(
            "{what}: {both:?} is both included and excluded; keep one"
        ));
    }
    faults
}

/// Checks namespace lists: [`validate_lists`] and the syntax of each name or pattern.
pub fn validate_namespace_lists(includes: &[String], excludes: &[String]) -> Vec<String> {
    let mut faults = validate_lists("namespaces", includes, excludes);
    for (side, names) in [("included", includes), ("excluded", excludes)] {
        for name in names.iter().filter(|n| !n.is_empty() && *n != "*") {
            if let Some(reason) = namespace_fault(name) {
                faults.push(format!("{side} namespaces: {name:?} {reason}"));
            }
        }
    }
    faults
}

fn namespace_fault(name: &str) -> Option<&'static str> {
    if name.contains(['|', '(', ')', '!', '{', '}', ',']) {
        return Some("has a character that patterns may not have; use only '*', '?' and '[...]'");
    }
    if name.contains("**") {
        return Some("has \"**\"; one '*' matches any number of characters");
    }
    if name.contains("[]") || !brackets_balanced(name) {
        return Some("has brackets that are empty or not balanced");
    }
    let plain: String = name
        .chars()
        .map(|c| if "*?[]".contains(c) { 'x' } else { c })
        .collect();
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let good = plain.len() <= 63
        && plain
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && edge(plain.chars().next())
        && edge(plain.chars().next_back());
    (!good).then_some("is no namespace name: at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit")
}

fn brackets_balanced(name: &str) -> bool {
    let mut open = false;
    for c in name.chars() {
        match (c, open) {
            ('[', true) | (']', false) => return false,
            ('[', false) => open = true,
            (']', true) => open = false,
            _ => {}
        }
    }
    !open
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn selection() {
        for (includes, excludes, name, expected) in [
            (&[][..], &[][..], "a", true),
            (&["*"], &[], "a", true),
            (&["a"], &[], "b", false),
            (&["a", "*"], &[], "b", true),
            (&["*"], &["a"], "a", false),
            (&["a"], &["a"], "a", false),
            (&[], &["*"], "a", true),
            (&["te*"], &["team-x"], "team-x", false),
            (&["te*"], &["team-x"], "team-y", true),
            (&["[", "a"], &["["], "a", true),
        ] {
            let lists = IncludesExcludes::new(includes.iter().copied(), excludes.iter().copied());
            assert_eq!(
                lists.should_include(name),
                expected,
                "{includes:?} {excludes:?} {name}"
            );
        }
    }

    #[test]
    fn validation() {
        for (includes, excludes, faults) in [
            (&["*"][..], &["kube-system"][..], 0),
            (&["*", "a"], &[], 1),
            (&[], &["*"], 1),
            (&["a"], &["a"], 1),
            (&["Team"], &[], 1),
            (&["team-*", "a[bc]", ""], &["x?"], 0),
            (&["a**", "b[]", "c{d}", "[", "e]", "-f"], &[], 6),
        ] {
            let found = validate_namespace_lists(&strings(includes), &strings(excludes));
            assert_eq!(found.len(), faults, "{includes:?} {excludes:?}: {found:?}");
        }
    }
}
