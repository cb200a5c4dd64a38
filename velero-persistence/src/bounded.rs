//! Lists that do not grow without end.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// The most elements of a list that is read.
const MOST: usize = 500_000;

/// A list of at most [`MOST`] elements.
#[derive(Debug)]
pub(crate) struct Bounded<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

struct Elements<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
    type Value = Bounded<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(element) = list.next_element()? {
            if all.len() == MOST {
                return Err(A::Error::custom(format_args!(
                    "more than {MOST} elements in a list"
                )));
            }
            all.push(element);
        }
        Ok(Bounded(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_end() {
        let of = |count: usize| {
            let text = format!("[{}]", vec!["1"; count].join(","));
            serde_json::from_str::<Bounded<u8>>(&text).map(|list| list.0.len())
        };
        assert_eq!(of(0).unwrap(), 0);
        assert_eq!(of(MOST).unwrap(), MOST);
        let error = of(MOST + 1).unwrap_err().to_string();
        assert!(error.starts_with("more than 500000 elements"), "{error}");
        assert!(serde_json::from_str::<Bounded<u8>>("{}").is_err());
    }
}
