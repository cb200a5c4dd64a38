//! Enums of words that a newer version may add to.

/// Defines an enum over strings that keeps words it does not know, and whose schema lists those it knows.
///
/// The text of a variant is its name unless another one is given behind `=`.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident $(= $text:literal)?,)+
        }
    ) => {
        $(#[$meta])*
        ///
        /// A word that this version does not know is kept as it is.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
            /// Any other word, as read; never one of the known ones when made by `From`.
            Unknown(String),
        }

        impl $name {
            /// The known words, in the order of the schema.
            pub const KNOWN: &'static [&'static str] = &[$($crate::api::open_enum::word!($variant $($text)?)),+];

            /// Gives the word as it is written in JSON.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $crate::api::open_enum::word!($variant $($text)?),)+
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($crate::api::open_enum::word!($variant $($text)?) => Self::$variant,)+
                    _ => Self::Unknown(word.to_owned()),
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match Self::from(word.as_str()) {
                    Self::Unknown(_) => Self::Unknown(word),
                    known => known,
                }
            }
        }

        impl Default for $name {
            /// The empty word, which Go programs write for "not set".
            fn default() -> Self {
                Self::Unknown(String::new())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "enum": Self::KNOWN})
            }
        }
    };
}

/// The word of one variant.
macro_rules! word {
    ($variant:ident) => {
        stringify!($variant)
    };
    ($variant:ident $text:literal) => {
        $text
    };
}

pub(crate) use {open_enum, word};
