//! The name that was meant by one with a slip of the pen.

/// How many letters may be wrong.
const SLIPS: usize = 3;

/// The candidate that a name comes nearest to: the one of the same name with a group, or else the one that differs in the
/// fewest letters, at most three and fewer than half of them. The first of equals.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = name.to_lowercase();
    let most = SLIPS.min(name.chars().count().saturating_sub(1) / 2);
    let cost = |candidate: &str| match candidate.split_once('.') {
        Some((plural, _)) if !name.contains('.') => distance(&name, plural),
        _ => distance(&name, candidate),
    };
    candidates
        .into_iter()
        .map(|candidate| (cost(candidate), candidate))
        .filter(|(cost, _)| *cost <= most)
        .min_by_key(|(cost, _)| *cost)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, taken out or changed to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, a) in a.chars().enumerate() {
        let mut next = vec![at + 1];
        let mut left = at + 1;
        for ((b, diagonal), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(a != *b))
                .min(above + 1)
                .min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_seen_through() {
        let known = ["configmaps", "deployments.apps", "pods", "secrets"];
        for (name, expected) in [
            ("secrest", Some("secrets")),
            ("Secret", Some("secrets")),
            ("deployment", Some("deployments.apps")),
            ("deployments.app", Some("deployments.apps")),
            ("pod", Some("pods")),
            ("frobnicators", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name:?}");
        }
    }
}
