//! The entries of `metadata.managedFields`.

use serde_json::{Value, json};

use super::set::Set;

/// How many managers that update are kept apart; older ones become `ancient-changes`.
const MAX_UPDATERS: usize = 10;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    /// `Apply`, or `Update`.
    pub(crate) apply: bool,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    pub(crate) time: Option<String>,
    pub(crate) set: Set,
}

impl Entry {
    /// Whether two entries belong to one manager: appliers are the same in every version.
    pub(crate) fn same_manager(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.apply == other.apply
            && self.subresource == other.subresource
            && (self.apply || self.api_version == other.api_version)
    }

    /// The manager as conflicts name it.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.apply {
            text.push_str(&format!(" using {}", self.api_version));
            if let Some(time) = &self.time {
                text.push_str(&format!(" at {time}"));
            }
        }
        text
    }
}

/// Reads the entries of an object; nothing when one of them makes no sense.
pub(crate) fn decode(list: &Value) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    for value in list.as_array()? {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let apply = match value["operation"].as_str()? {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        if value["fieldsType"]
            .as_str()
            .is_some_and(|t| !t.is_empty() && t != "FieldsV1")
        {
            return None;
        }
        let set = if value["fieldsV1"].is_null() {
            Set::default()
        } else {
            Set::decode(&value["fieldsV1"])?
        };
        let mut set = set;
        set.member = false;
        entries.push(Entry {
            manager: text("manager"),
            apply,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: value["time"].as_str().map(str::to_owned),
            set,
        });
    }
    Some(entries)
}

/// Writes entries in the server's order: appliers first, then by time and name.
pub(crate) fn encode(mut entries: Vec<Entry>) -> Value {
    entries.sort_by(|a, b| {
        let key = |e: &Entry| {
            (
                !e.apply,
                e.time.clone(),
                e.manager.clone(),
                e.api_version.clone(),
                e.subresource.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    let encode = |e: Entry| {
        let mut value = json!({
            "manager": e.manager, "operation": if e.apply { "Apply" } else { "Update" },
            "apiVersion": e.api_version, "fieldsType": "FieldsV1", "fieldsV1": e.set.encode(),
        });
        if let Some(time) = e.time {
            value["time"] = time.into();
        }
        if !e.subresource.is_empty() {
            value["subresource"] = e.subresource.into();
        }
        value
    };
    entries.into_iter().map(encode).collect()
}

/// Joins the oldest updaters of each version when there are too many.
pub(crate) fn cap(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut updaters: Vec<Entry> = entries.iter().filter(|e| !e.apply).cloned().collect();
    if updaters.len() <= MAX_UPDATERS {
        return entries;
    }
    entries.retain(|e| e.apply);
    updaters.sort_by(|a, b| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)));
    while updaters.len() > MAX_UPDATERS {
        let oldest = updaters[0].api_version.clone();
        let Some(second) = updaters
            .iter()
            .skip(1)
            .position(|e| e.api_version == oldest)
        else {
            break;
        };
        let joined = updaters.remove(second + 1);
        let first = &mut updaters[0];
        first.manager = "ancient-changes".into();
        first.subresource.clear();
        first.set = first.set.union(&joined.set);
        first.time = joined.time;
    }
    entries.extend(updaters);
    entries
}
