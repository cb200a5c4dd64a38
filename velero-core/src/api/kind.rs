//! What all kinds of Velero have in common.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// A custom resource of the group `velero.io`: metadata, a spec and a status, in a namespace.
///
/// No kind has a status subresource: the status is written with the object itself. Spec and status are plain values and not
/// options, because an absent one means the same as an empty one, and Go programs always write both.
pub trait VeleroKind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Default
    + PartialEq
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// What the user wants.
    type Spec: Clone
        + Debug
        + Default
        + PartialEq
        + Serialize
        + DeserializeOwned
        + JsonSchema
        + Send
        + Sync;
    /// What the controllers report.
    type Status: Clone
        + Debug
        + Default
        + PartialEq
        + Serialize
        + DeserializeOwned
        + JsonSchema
        + Send
        + Sync;

    /// Name of the kind, such as `Backup`.
    const KIND: &'static str;
    /// Version inside the group: `v1` or `v2alpha1`.
    const VERSION: &'static str;
    /// Group and version, such as `velero.io/v1`.
    const API_VERSION: &'static str;
    /// Name of the resource in URLs, such as `backups`.
    const PLURAL: &'static str;
    /// Short names for the command line.
    const SHORT_NAMES: &'static [&'static str];
    /// Columns that the API server prints in tables; with none it prints name and age.
    const COLUMNS: &'static [PrinterColumn];
    /// What the kind is for, in a sentence or two.
    const DESCRIPTION: &'static str;

    /// The spec.
    fn spec(&self) -> &Self::Spec;
    /// The spec, to be changed.
    fn spec_mut(&mut self) -> &mut Self::Spec;
    /// The status.
    fn status(&self) -> &Self::Status;
    /// The status, to be changed.
    fn status_mut(&mut self) -> &mut Self::Status;
}

/// A column of the table that the API server prints for a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrinterColumn {
    /// Heading.
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date` (printed as an age).
    pub type_: &'static str,
    /// JSONPath of the value.
    pub path: &'static str,
    /// What the column shows; empty when the heading says it all.
    pub description: &'static str,
    /// Format of the value, such as `int64`; empty for none.
    pub format: &'static str,
    /// 0 for a column that is always shown; higher ones appear in wide tables only.
    pub priority: i32,
}

impl PrinterColumn {
    /// Makes a column that is always shown.
    pub(super) const fn new(
        name: &'static str,
        type_: &'static str,
        path: &'static str,
        description: &'static str,
    ) -> Self {
        Self {
            name,
            type_,
            path,
            description,
            format: "",
            priority: 0,
        }
    }

    /// The age of the object.
    pub(super) const fn age() -> Self {
        Self::new("Age", "date", ".metadata.creationTimestamp", "")
    }

    /// A count of bytes.
    pub(super) const fn bytes(
        name: &'static str,
        path: &'static str,
        description: &'static str,
    ) -> Self {
        Self {
            format: "int64",
            ..Self::new(name, "integer", path, description)
        }
    }

    /// Moves the column to wide tables.
    pub(super) const fn wide(self) -> Self {
        Self {
            priority: 10,
            ..self
        }
    }
}

/// Defines one kind: the struct, its JSON form, and its place in the API.
///
/// `#[derive(kube::CustomResource)]` is not used: it makes the spec mandatory for readers and leaves an absent status out, so that
/// one object without a spec would break every list, and ours would differ from those Go programs write.
macro_rules! resource {
    (
        $(#[doc = $doc:literal])+
        $kind:ident($plural:literal, $version:literal) {
            spec: $spec:ty,
            status: $status:ty,
            short_names: [$($short:literal),*],
            columns: [$($column:expr),* $(,)?],
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $kind {
            /// Name, namespace, labels and the like.
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What the user wants.
            pub spec: $spec,
            /// What the controllers report.
            pub status: $status,
        }

        impl $kind {
            /// Makes an object with a name and a spec, and nothing else set.
            pub fn new(namespace: impl Into<String>, name: impl Into<String>, spec: $spec) -> Self {
                let mut object = Self { spec, ..Self::default() };
                object.metadata.namespace = Some(namespace.into());
                object.metadata.name = Some(name.into());
                object
            }
        }

        impl $crate::api::VeleroKind for $kind {
            type Spec = $spec;
            type Status = $status;

            const KIND: &'static str = stringify!($kind);
            const VERSION: &'static str = $version;
            const API_VERSION: &'static str = concat!("velero.io/", $version);
            const PLURAL: &'static str = $plural;
            const SHORT_NAMES: &'static [&'static str] = &[$($short),*];
            const COLUMNS: &'static [$crate::api::PrinterColumn] = &[$($column),*];
            const DESCRIPTION: &'static str = concat!($($doc, "\n"),+);

            fn spec(&self) -> &Self::Spec {
                &self.spec
            }

            fn spec_mut(&mut self) -> &mut Self::Spec {
                &mut self.spec
            }

            fn status(&self) -> &Self::Status {
                &self.status
            }

            fn status_mut(&mut self) -> &mut Self::Status {
                &mut self.status
            }
        }

        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = k8s_openapi::NamespaceResourceScope;

            fn kind(_: &()) -> std::borrow::Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group(_: &()) -> std::borrow::Cow<'_, str> {
                $crate::names::GROUP.into()
            }

            fn version(_: &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural(_: &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                use $crate::api::VeleroKind as _;

                let mut object = serializer.serialize_struct(Self::KIND, 5)?;
                object.serialize_field("kind", Self::KIND)?;
                object.serialize_field("apiVersion", Self::API_VERSION)?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                object.serialize_field("status", &self.status)?;
                object.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                /// The object as it is on the wire; items of lists may come without a kind.
                #[derive(Default, serde::Deserialize)]
                #[serde(default)]
                struct Wire {
                    #[serde(deserialize_with = "crate::api::lenient::nullable")]
                    kind: String,
                    #[serde(deserialize_with = "crate::api::lenient::nullable")]
                    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
                    #[serde(deserialize_with = "crate::api::lenient::nullable")]
                    spec: $spec,
                    #[serde(deserialize_with = "crate::api::lenient::nullable")]
                    status: $status,
                }

                let Wire { kind, metadata, spec, status } = serde::Deserialize::deserialize(deserializer)?;
                if !kind.is_empty() && kind != stringify!($kind) {
                    return Err(serde::de::Error::custom(format_args!(
                        "field kind is {kind:?}, should be {:?}",
                        stringify!($kind),
                    )));
                }
                Ok(Self { metadata, spec, status })
            }
        }
    };
}

pub(super) use resource;
