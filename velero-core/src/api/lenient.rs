//! Reading and writing fields the way Go's `encoding/json` treats a struct: `null` is the zero value, `omitempty` leaves it out.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the type's default.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads an open enum; `null` and `""` are no value.
pub(super) fn non_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: From<String>,
{
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).map(T::from))
}

/// Go's `omitempty` for everything that is not a struct: the zero value is not written.
pub(super) fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Go's `omitempty` on a struct, which has no effect: the field is optional for readers and always written.
pub(super) fn never<T>(_: &T) -> bool {
    false
}
