//! Which namespaces a backup takes.

use std::collections::BTreeSet;

use super::{IncludesExcludes, Pattern};

/// The namespaces of a backup: its lists, resolved once against those that exist.
#[derive(Debug, Clone, Default)]
pub struct NamespaceFilter {
    lists: IncludesExcludes,
    everything: bool,
    nothing: bool,
    missing: Vec<String>,
    listed: Option<Vec<String>>,
}

impl NamespaceFilter {
    /// Resolves the lists of a `Backup` against the namespaces that exist.
    ///
    /// Patterns are expanded here when an include or exclude holds a wildcard, there are includes, and none of them is
    /// `*`; an expansion that finds nothing selects no namespaced object at all. Otherwise excluding patterns are
    /// matched against each object's namespace. Mirrors upstream's `pkg/util/wildcard/expand.go`.
    pub fn resolve(includes: &[String], excludes: &[String], live: &[String]) -> Self {
        let live: BTreeSet<&str> = live.iter().map(String::as_str).collect();
        let star = includes.iter().any(|i| i == "*");
        let wild = |names: &[String]| names.iter().any(|n| Pattern::new(n.as_str()).is_glob());
        let expand = !star && !includes.is_empty() && (wild(includes) || wild(excludes));
        let resolve = |names: &[String]| {
            if expand {
                expanded(names, &live)
            } else {
                names.iter().cloned().collect()
            }
        };
        let (includes, excludes): (BTreeSet<String>, BTreeSet<String>) =
            (resolve(includes), resolve(excludes));
        let nothing = expand && includes.is_empty();
        let all = includes.is_empty()
            || (includes.len() == 1 && star)
            || includes.iter().map(String::as_str).eq(live.iter().copied());
        let everything = excludes.is_empty() && all;
        let missing = includes
            .iter()
            .filter(|n| *n != "*" && !live.contains(n.as_str()))
            .cloned()
            .collect();
        let lists = IncludesExcludes::new(includes.iter().cloned(), excludes);
        let listed = (nothing || !(includes.is_empty() || star)).then(|| {
            let mut names: Vec<String> = includes
                .into_iter()
                .filter(|n| live.contains(n.as_str()) && lists.should_include(n))
                .collect();
            names.sort_by_cached_key(|name| format!("{name}/"));
            names
        });
        Self {
            lists,
            everything,
            nothing,
            missing,
            listed,
        }
    }

    /// Whether objects of `namespace` are taken.
    pub fn should_include(&self, namespace: &str) -> bool {
        !self.nothing && self.lists.should_include(namespace)
    }

    /// Whether the lists leave no namespace out, which decides about cluster-scoped kinds: no excludes, and the includes
    /// are empty, `*` alone, or just the namespaces that exist.
    ///
    /// As in the peer, patterns that have found nothing leave an empty list, which counts as everything here although
    /// no namespace is taken: look at [`NamespaceFilter::takes_nothing`].
    pub fn includes_everything(&self) -> bool {
        self.everything
    }

    /// Whether there were patterns and they have found nothing.
    pub fn takes_nothing(&self) -> bool {
        self.nothing
    }

    /// Included names that do not exist in the cluster, sorted.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// The namespaces that exist and are taken, when they were named or found by pattern; `None` when all are but the
    /// excluded ones.
    ///
    /// They are in the order in which an API server lists their objects, that of `namespace/`.
    pub fn names(&self) -> Option<&[String]> {
        self.listed.as_deref()
    }
}

fn expanded(patterns: &[String], live: &BTreeSet<&str>) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for text in patterns {
        let pattern = Pattern::new(text.as_str());
        if pattern.is_glob() {
            out.extend(
                live.iter()
                    .filter(|n| pattern.matches(n))
                    .map(|n| (*n).to_owned()),
            );
        } else {
            out.insert(text.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    /// What is asked of a filter: taken, left, names to list, missing, everything.
    type Row<'a> = (
        &'a [&'a str],
        &'a [&'a str],
        &'a [&'a str],
        &'a [&'a str],
        Option<&'a [&'a str]>,
        &'a [&'a str],
        bool,
    );

    #[test]
    fn lists_resolve_against_the_cluster() {
        let live = ["a", "a-b", "team-1", "team-2"];
        let rows: &[Row<'_>] = &[
            // includes, excludes, taken, left, listed, missing, everything
            (&[], &[], &["a", "new"], &[], None, &[], true),
            (&["*"], &[], &["a", "new"], &[], None, &[], true),
            (
                &live,
                &[],
                &["a"],
                &["new"],
                Some(&["a-b", "a", "team-1", "team-2"]),
                &[],
                true,
            ),
            (
                &["a"],
                &[],
                &["a"],
                &["a-b", "new"],
                Some(&["a"]),
                &[],
                false,
            ),
            (&["a", "a"], &[], &["a"], &["a-b"], Some(&["a"]), &[], false),
            (
                &["a", "gone"],
                &[],
                &["a", "gone"],
                &["a-b"],
                Some(&["a"]),
                &["gone"],
                false,
            ),
            // Patterns.
            (
                &["team-*"],
                &[],
                &["team-1"],
                &["a", "team-new"],
                Some(&["team-1", "team-2"]),
                &[],
                false,
            ),
            (
                &["team-?"],
                &["*-2"],
                &["team-1"],
                &["team-2"],
                Some(&["team-1"]),
                &[],
                false,
            ),
            (
                &["team-[12]", "a"],
                &[],
                &["team-2", "a"],
                &["a-b"],
                Some(&["a", "team-1", "team-2"]),
                &[],
                false,
            ),
            (
                &["team-*", "gone"],
                &[],
                &["team-1", "gone"],
                &["a"],
                Some(&["team-1", "team-2"]),
                &["gone"],
                false,
            ),
            (
                &["team.*"],
                &[],
                &[],
                &["team-1", "a"],
                Some(&[]),
                &[],
                true,
            ),
            (
                &["x-*"],
                &["a"],
                &[],
                &["team-1", "a"],
                Some(&[]),
                &[],
                false,
            ),
            // A pattern among the excludes alone is expanded with the includes, or matched when there are none.
            (
                &["a", "team-1"],
                &["team-*"],
                &["a"],
                &["team-1"],
                Some(&["a"]),
                &[],
                false,
            ),
            (
                &live,
                &["x-*"],
                &["a", "team-1"],
                &["new"],
                Some(&["a-b", "a", "team-1", "team-2"]),
                &[],
                true,
            ),
            (
                &["*"],
                &["team-*"],
                &["a"],
                &["team-1", "team-new"],
                None,
                &[],
                false,
            ),
            (
                &[],
                &["team-*"],
                &["a"],
                &["team-1", "team-new"],
                None,
                &[],
                false,
            ),
            (&[], &["x-*"], &["a"], &["x-1"], None, &[], false),
            // The empty name stands for no namespace.
            (&[""], &[], &[], &["a"], Some(&[]), &[""], false),
        ];
        for (includes, excludes, taken, left, listed, missing, everything) in rows {
            let filter =
                NamespaceFilter::resolve(&names(includes), &names(excludes), &names(&live));
            let row = format!("{includes:?} {excludes:?}");
            for name in *taken {
                assert!(filter.should_include(name), "{row} takes {name}");
            }
            for name in *left {
                assert!(!filter.should_include(name), "{row} leaves {name}");
            }
            assert_eq!(
                filter.names().map(<[String]>::to_vec),
                listed.map(names),
                "{row}"
            );
            assert_eq!(filter.missing(), names(missing), "{row}");
            assert_eq!(filter.includes_everything(), *everything, "{row}");
            let nothing = listed.is_some_and(<[&str]>::is_empty) && !includes.contains(&"");
            assert_eq!(filter.takes_nothing(), nothing, "{row}");
        }
    }
}
