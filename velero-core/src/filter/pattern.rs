//! One name or glob.

use super::glob::Glob;

/// A literal name or a glob: `*`, `?`, `[abc]`, `[a-c]`, `[!a]`, `{a,b}`; `*` crosses dots.
///
/// A glob that does not parse matches nothing, as in the peer (`pkg/util/collections/includes_excludes.go`).
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    Everything,
    Literal,
    Glob(Box<Glob>),
    Nothing,
}

impl Pattern {
    /// Compiles a name or glob.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let matcher = if text == "*" {
            Matcher::Everything
        } else if !is_glob(&text) {
            Matcher::Literal
        } else {
            Glob::new(&text).map_or(Matcher::Nothing, |glob| Matcher::Glob(Box::new(glob)))
        };
        Self { text, matcher }
    }

    /// The text it was made from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a glob other than `*`.
    pub fn is_glob(&self) -> bool {
        matches!(self.matcher, Matcher::Glob(_) | Matcher::Nothing)
    }

    /// Whether it is a glob that does not parse.
    pub fn is_broken(&self) -> bool {
        matches!(self.matcher, Matcher::Nothing)
    }

    /// Whether `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        match &self.matcher {
            Matcher::Everything => true,
            Matcher::Literal => self.text == name,
            Matcher::Glob(glob) => glob.matches(name),
            Matcher::Nothing => false,
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("pods", "pods", true),
            ("pods", "pods.x", false),
            ("*.velero.io", "backups.velero.io", true),
            ("*.io", "a.b.io", true),
            ("team-?", "team-1", true),
            ("team-[ab]", "team-c", false),
            ("{a,b}*", "beta", true),
            ("[", "[", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
        assert!(Pattern::new("a[").is_broken() && !Pattern::new("a]").is_glob());
    }
}
