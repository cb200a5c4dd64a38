//! Include and exclude lists.

use std::collections::BTreeSet;

use super::Pattern;

/// Two sets of names or globs: excludes win; an empty include set takes everything.
///
/// The sets are sorted, and a glob that does not parse ends the search of its set: those sorted after it match nothing
/// either. Mirrors upstream's `pkg/util/collections/includes_excludes.go`; see [`IncludesExcludes::broken`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IncludesExcludes {
    includes: Vec<Pattern>,
    excludes: Vec<Pattern>,
}

impl IncludesExcludes {
    /// Compiles both sets.
    pub fn new<I, E>(includes: I, excludes: E) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
        E: IntoIterator,
        E::Item: Into<String>,
    {
        let set = |names: BTreeSet<String>| names.into_iter().map(Pattern::new).collect();
        Self {
            includes: set(includes.into_iter().map(Into::into).collect()),
            excludes: set(excludes.into_iter().map(Into::into).collect()),
        }
    }

    /// Takes everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Whether `name` is taken. A bare `*` among the excludes is ignored, as the peer's engine does.
    pub fn should_include(&self, name: &str) -> bool {
        let excluded = searched(&self.excludes).any(|p| p.as_str() != "*" && p.matches(name));
        !excluded && (self.includes.is_empty() || self.includes_name(name))
    }

    /// Whether an include matches `name`; never in an empty set.
    pub fn includes_name(&self, name: &str) -> bool {
        self.includes_star() || searched(&self.includes).any(|p| p.matches(name))
    }

    /// Whether an exclude matches `name`; `*` matches everything here.
    pub fn excludes_name(&self, name: &str) -> bool {
        self.excludes.iter().any(|p| p.as_str() == "*")
            || searched(&self.excludes).any(|p| p.matches(name))
    }

    /// Whether nothing is left out: no excludes, and no includes or `*` alone.
    pub fn includes_everything(&self) -> bool {
        self.excludes.is_empty()
            && (self.includes.is_empty() || (self.includes.len() == 1 && self.includes_star()))
    }

    /// Whether `*` is among the includes.
    pub fn includes_star(&self) -> bool {
        self.includes.iter().any(|p| p.as_str() == "*")
    }

    /// The includes, sorted, each once.
    pub fn includes(&self) -> impl Iterator<Item = &Pattern> {
        self.includes.iter()
    }

    /// The excludes, sorted, each once.
    pub fn excludes(&self) -> impl Iterator<Item = &Pattern> {
        self.excludes.iter()
    }

    /// Whether both sets are empty.
    pub fn is_empty(&self) -> bool {
        self.includes.is_empty() && self.excludes.is_empty()
    }

    /// The globs that do not parse: they, and those sorted after them, match nothing.
    pub fn broken(&self) -> impl Iterator<Item = &Pattern> {
        let of = |set: &[Pattern]| set.iter().position(Pattern::is_broken);
        [
            of(&self.includes).map(|at| &self.includes[at]),
            of(&self.excludes).map(|at| &self.excludes[at]),
        ]
        .into_iter()
        .flatten()
    }
}

/// A set up to the first glob that does not parse.
fn searched(set: &[Pattern]) -> impl Iterator<Item = &Pattern> {
    set.iter().take_while(|p| !p.is_broken())
}

/// Checks an include/exclude pair; gives one message for each fault.
///
/// `what` names the pair in the messages: `namespaces`, `resources`.
pub fn validate_lists(what: &str, includes: &[String], excludes: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let (includes, excludes) = (set(includes), set(excludes));
    if includes.len() > 1 && includes.contains("*") {
        faults.push(format!(
            "included {what}: \"*\" must stand alone, or be left out"
        ));
    }
    if excludes.contains("*") {
        faults.push(format!(
            "excluded {what}: \"*\" would leave nothing; name what to leave out"
        ));
    }
    for both in includes.intersection(&excludes) {
        faults.push(format!(
            "{what}: {both:?} is both included and excluded; keep one"
        ));
    }
    faults
}

pub(super) fn set(names: &[String]) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}

/// Checks namespace lists: [`validate_lists`] and the syntax of each name or pattern.
///
/// The empty name is good: it stands for no namespace.
pub fn validate_namespace_lists(includes: &[String], excludes: &[String]) -> Vec<String> {
    let mut faults = validate_lists("namespaces", includes, excludes);
    for (side, names) in [("included", includes), ("excluded", excludes)] {
        for name in set(names)
            .into_iter()
            .filter(|n| !n.is_empty() && *n != "*")
        {
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
    if !brackets_are_whole(name) {
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
    if !good {
        return Some(
            "is no namespace name: at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit",
        );
    }
    Pattern::new(name).is_broken().then_some(
        "has brackets that hold neither a list of characters such as [abc] nor one range such as [a-c]",
    )
}

/// Whether every bracket that opens closes, with something inside. A bracket that opens inside is a character.
fn brackets_are_whole(name: &str) -> bool {
    let mut rest = name;
    while let Some(at) = rest.find(['[', ']']) {
        let Some(inside) = rest[at..].strip_prefix('[') else {
            return false;
        };
        match inside.find(']') {
            None | Some(0) => return false,
            Some(end) => rest = &inside[end + 1..],
        }
    }
    true
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
            (&["pods", "b*"], &["b[ad]*"], "bad", false),
            // A glob that does not parse ends the search of its set, which is sorted.
            (&["[", "pods"], &[], "pods", false),
            (&["z[", "pods"], &[], "pods", true),
            (&["[", "*"], &[], "pods", true),
            (&[], &["[", "pods"], "pods", true),
            (&[], &["z[", "pods"], "pods", false),
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
    fn what_leaves_nothing_out() {
        for (includes, excludes, everything, broken) in [
            (&[][..], &[][..], true, 0),
            (&["*"], &[], true, 0),
            (&["*", "*"], &[], true, 0),
            (&["*", "a"], &[], false, 0),
            (&[], &["a"], false, 0),
            (&["[", "b["], &["c["], false, 2),
        ] {
            let lists = IncludesExcludes::new(includes.iter().copied(), excludes.iter().copied());
            assert_eq!(
                (lists.includes_everything(), lists.broken().count()),
                (everything, broken),
                "{includes:?} {excludes:?}"
            );
        }
    }

    #[test]
    fn validation() {
        let long = "a".repeat(64);
        for (includes, excludes, faults) in [
            (&["*"][..], &["kube-system"][..], 0),
            (&["*", "*"], &[], 0),
            (&["*", "a"], &[], 1),
            (&[], &["*"], 1),
            (&["a", "a"], &["a"], 1),
            (&["Team"], &[], 1),
            (&[long.as_str()], &[&long[1..]], 1),
            (
                &["team-*", "a[bc]", "?", "[a-c]x", "a[[]", "*-x", ""],
                &["x?", ""],
                1,
            ),
            (&["a**", "b[]", "c{d}", "[", "e]", "-f"], &[], 6),
            (&["a|b", "a(b", "a)b", "a!b", "a{b", "a}b", "a,b"], &[], 7),
            (&["a.b", "a+b", "a_b", "a/b"], &[], 4),
            (&[], &["a**", "[b-a]", "[a-cx]"], 3),
        ] {
            let found = validate_namespace_lists(&strings(includes), &strings(excludes));
            assert_eq!(found.len(), faults, "{includes:?} {excludes:?}: {found:?}");
        }
    }
}
