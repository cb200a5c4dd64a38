//! Names of objects that leave theirs to the API server (`generateName`).

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use velero_core::ItemTree;

use super::item::Work;
use super::run::Run;

/// Letters and digits of names that are made up: none that make words or are mistaken for others.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many of them follow what the object says. Kubernetes takes five and tries again.
const COUNT: usize = 8;
/// Longest name that all kinds take.
const LONGEST: usize = 63;

impl Run {
    /// Gives an object the name that it leaves to the API server: one that another attempt of this restore, and no other
    /// restore, would give it as well. So an object whose creation was not seen to its end is found again.
    pub(super) fn settle_name(&self, work: &Work<'_>, item: &mut ItemTree) {
        let restore = self.request.restore();
        let uid = restore.metadata.uid.as_deref().unwrap_or_default();
        let prefix = item.str_at("/metadata/generateName").to_owned();
        if !item.name().is_empty() || prefix.is_empty() || uid.is_empty() {
            return;
        }
        let resource = work.item.resource.to_string();
        let name = made_up(&prefix, &[uid, &resource, work.namespace, work.item.name]);
        item.metadata_mut().insert("name".into(), Value::from(name));
    }
}

fn made_up(prefix: &str, of: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in of {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let letter = |byte: &u8| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]);
    let end: String = hash.finalize().iter().take(COUNT).map(letter).collect();
    let start = prefix.floor_char_boundary(LONGEST - COUNT);
    format!("{}{end}", &prefix[..start])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_restore_and_the_item() {
        let name = made_up("job-", &["u1", "jobs.batch", "shop", "a"]);
        assert!(name.starts_with("job-") && name.len() == 12, "{name}");
        assert_eq!(name, made_up("job-", &["u1", "jobs.batch", "shop", "a"]));
        for other in [
            ["u2", "jobs.batch", "shop", "a"],
            ["u1", "pods", "shop", "a"],
            ["u1", "jobs.batch", "shopa", ""],
            ["u1", "jobs.batch", "shop", "b"],
        ] {
            assert_ne!(name, made_up("job-", &other));
        }
        assert_eq!(made_up(&"x".repeat(70), &["u"]).len(), LONGEST);
    }
}
