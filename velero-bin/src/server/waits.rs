//! What the run of a resource waits for, and since when: an annotation of it.

use jiff::Timestamp;
use kube::core::ObjectMeta;
use velero_core::api::VeleroKind;
use velero_core::names::annotations;

use super::context::{Context, after};
use super::objects::Lock;

/// What stands in front of the time.
const SINCE: &str = ", since ";

/// Seconds for which a resource waits for its turn before it says so: short waits are not worth a write.
const SHORT: i64 = 5;

/// Whether a resource that has not begun has waited for long enough to say so.
fn is_long(meta: &ObjectMeta, now: Timestamp) -> bool {
    let created = meta.creation_timestamp.as_ref();
    created.is_none_or(|created| now >= after(created.0, SHORT * 1_000_000_000))
}

/// What a resource says that it waits for, without the time.
pub(super) fn what(meta: &ObjectMeta) -> Option<&str> {
    let text = meta.annotations.as_ref()?.get(annotations::WAITS_FOR)?;
    Some(text.rsplit_once(SINCE).map_or(text, |(what, _)| what))
}

/// Writes down what is waited for, or that it is nothing any more. What was waited for before keeps its time.
pub(super) fn set(meta: &mut ObjectMeta, waits_for: Option<&str>, now: Timestamp) {
    if waits_for == what(meta) {
        return;
    }
    match waits_for {
        Some(waits_for) => {
            let text = format!("{waits_for}{SINCE}{now}");
            let own = meta.annotations.get_or_insert_default();
            own.insert(annotations::WAITS_FOR.to_owned(), text);
        }
        None => clear(meta),
    }
}

/// Writes down that nothing is waited for any more.
pub(super) fn clear(meta: &mut ObjectMeta) {
    if let Some(own) = &mut meta.annotations {
        own.remove(annotations::WAITS_FOR);
    }
}

/// Says on an object what it waits for, once it has waited for a while. Not worth a failure.
pub(super) async fn tell<K: VeleroKind>(context: &Context, object: &K, waits_for: &str) {
    if !is_long(object.meta(), context.now()) {
        return;
    }
    let mut told = object.clone();
    set(told.meta_mut(), Some(waits_for), context.now());
    let told = context.objects.patch(object, &told, Lock::SameObject);
    if let Err(error) = told.await {
        let kind = K::KIND;
        tracing::debug!(kind, %error, "it could not be said what it waits for");
    }
}

/// Takes over what another state of a resource says that it waits for.
pub(super) fn take_over(meta: &mut ObjectMeta, from: &ObjectMeta) {
    let text = from.annotations.as_ref();
    let text = text.and_then(|own| own.get(annotations::WAITS_FOR));
    let key = annotations::WAITS_FOR;
    match (text, &mut meta.annotations) {
        (Some(text), own) => {
            let own = own.get_or_insert_default();
            own.insert(key.to_owned(), text.clone());
        }
        (None, Some(own)) => drop(own.remove(key)),
        (None, None) => {}
    }
}

/// What one waits for that has others in front of it; `kind` is their word.
pub(super) fn turn<'a>(kind: &str, before: impl IntoIterator<Item = &'a str>) -> String {
    match named(before) {
        names if names.is_empty() => "its turn".to_owned(),
        names => format!("the {kind} before it: {names}"),
    }
}

/// Names for such a text: the first three, and how many more there are.
pub(super) fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let first = names.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0..=3 => first,
        more => format!("{first} and {} more", more - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_first_word() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut meta = ObjectMeta::default();
        let text = |meta: &ObjectMeta| {
            let own = meta.annotations.as_ref()?;
            own.get("x.velero.io/waits-for").cloned()
        };
        set(&mut meta, Some("its turn"), at(0));
        assert_eq!(text(&meta).unwrap(), "its turn, since 1970-01-01T00:00:00Z");
        assert_eq!(what(&meta), Some("its turn"));
        set(&mut meta, Some("its turn"), at(5));
        assert_eq!(text(&meta).unwrap(), "its turn, since 1970-01-01T00:00:00Z");
        let mut other = ObjectMeta::default();
        take_over(&mut other, &meta);
        assert_eq!(text(&other), text(&meta));
        set(&mut meta, Some("hooks"), at(5));
        assert_eq!(text(&meta).unwrap(), "hooks, since 1970-01-01T00:00:05Z");
        set(&mut meta, None, at(6));
        assert_eq!((text(&meta), what(&meta)), (None, None));
        take_over(&mut other, &meta);
        assert_eq!(text(&other), None);
    }

    #[test]
    fn many_names_are_counted() {
        assert_eq!(named(["a", "b", "c"]), "a, b, c");
        assert_eq!(named(["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
        assert_eq!(turn("backups", ["a"]), "the backups before it: a");
        assert_eq!(turn("backups", []), "its turn");
    }
}
