//! How many times the work on a resource has begun, by an annotation of it.

use kube::core::ObjectMeta;

/// How many times the work has begun; absent for once.
const ATTEMPT: &str = "x.velero.io/attempt";

/// Most times that it begins: a run that brings its server down must not do so for ever.
pub(super) const ATTEMPTS: u32 = 3;

/// How many times the work has begun. A text that is no number counts as once.
pub(super) fn attempt(meta: &ObjectMeta) -> u32 {
    let said = meta.annotations.as_ref().and_then(|all| all.get(ATTEMPT));
    said.and_then(|said| said.parse().ok()).unwrap_or(1)
}

/// Notes that the work begins once more.
pub(super) fn count_attempt(meta: &mut ObjectMeta) {
    let next = attempt(meta).saturating_add(1);
    set(meta, next);
}

/// Notes that the work was given back in good order: the attempt that comes next is none more.
pub(super) fn forgive_attempt(meta: &mut ObjectMeta) {
    let less = attempt(meta).saturating_sub(1);
    set(meta, less);
}

fn set(meta: &mut ObjectMeta, attempt: u32) {
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(ATTEMPT.to_owned(), attempt.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_and_forgiven() {
        let mut meta = ObjectMeta::default();
        assert_eq!(attempt(&meta), 1);
        count_attempt(&mut meta);
        assert_eq!(attempt(&meta), 2);
        forgive_attempt(&mut meta);
        forgive_attempt(&mut meta);
        forgive_attempt(&mut meta);
        assert_eq!(attempt(&meta), 0);
        count_attempt(&mut meta);
        assert_eq!(attempt(&meta), 1);
        let text = [(ATTEMPT.to_owned(), "what?".to_owned())];
        meta.annotations = Some(text.into_iter().collect());
        assert_eq!(attempt(&meta), 1);
    }
}
