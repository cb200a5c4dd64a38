//! JSON documents that other programs own parts of.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::merge;
use crate::go_json;

/// A JSON document as it lies in a bucket, with a typed view of it.
///
/// Documents are written by many versions of many programs. Reading one into a struct and writing the struct back would lose every
/// field the struct does not have; this type keeps the document and changes only what it is told to.
///
/// ```
/// use velero_core::api::{Backup, BackupPhase, Document};
///
/// let mut document: Document<Backup> = Document::parse(br#"{"kind":"Backup","status":{"phase":"Failed","novelty":7}}"#)?;
/// document.update(|backup| backup.status.phase = Some(BackupPhase::Deleting))?;
///
/// assert_eq!(*document.get().phase(), BackupPhase::Deleting);
/// assert_eq!(document.value()["status"]["novelty"], 7);
/// # Ok::<(), velero_core::api::DocumentError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Document<T> {
    value: Value,
    typed: T,
}

/// Why a document cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The bytes are not JSON.
    #[error("document is not valid json")]
    Syntax(#[source] serde_json::Error),
    /// The document is JSON, but not of the form that the type has.
    #[error("document does not have the form of {expected}")]
    Form {
        /// The Rust type that was expected.
        expected: &'static str,
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
}

impl<T: DeserializeOwned> Document<T> {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// When the bytes are not JSON, or the JSON does not fit the type.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        Self::from_value(serde_json::from_slice(bytes).map_err(DocumentError::Syntax)?)
    }

    /// Takes a document that is JSON already.
    ///
    /// # Errors
    ///
    /// When the JSON does not fit the type.
    pub fn from_value(value: Value) -> Result<Self, DocumentError> {
        let typed = T::deserialize(&value).map_err(form_error::<T>)?;
        Ok(Self { value, typed })
    }

    /// Changes the document freely; if the outcome no longer fits the type, the document stays as it was.
    ///
    /// # Errors
    ///
    /// When the outcome does not fit the type.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) -> Result<(), DocumentError> {
        let mut value = self.value.clone();
        change(&mut value);
        *self = Self::from_value(value)?;
        Ok(())
    }

    /// Applies a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    ///
    /// When the outcome does not fit the type; the document stays as it was then.
    pub fn merge(&mut self, patch: &Value) -> Result<(), DocumentError> {
        self.edit(|value| merge::apply(value, patch))
    }
}

impl<T: DeserializeOwned + Serialize + Clone> Document<T> {
    /// Changes the typed view and carries over to the document exactly those fields that changed.
    ///
    /// Lists are carried over whole: unknown fields inside the elements of a list that changed are lost.
    ///
    /// # Errors
    ///
    /// When the outcome does not fit the type; the document stays as it was then.
    pub fn update(&mut self, change: impl FnOnce(&mut T)) -> Result<(), DocumentError> {
        let mut changed = self.typed.clone();
        change(&mut changed);
        let patch = merge::diff(&self.typed, &changed).map_err(form_error::<T>)?;
        self.merge(&patch)
    }
}

impl<T> Document<T> {
    /// Gives the typed view.
    pub fn get(&self) -> &T {
        &self.typed
    }

    /// Gives the whole document.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Gives the whole document and the typed view away.
    pub fn into_parts(self) -> (Value, T) {
        (self.value, self.typed)
    }

    /// Writes the document without white space, as Go does.
    pub fn to_bytes(&self) -> Vec<u8> {
        go_json::to_vec(&self.value)
    }

    /// Writes the document with an indentation of two spaces and no newline at the end, as Go does.
    pub fn to_pretty_bytes(&self) -> Vec<u8> {
        go_json::to_pretty_vec(&self.value)
    }
}

fn form_error<T>(source: serde_json::Error) -> DocumentError {
    DocumentError::Form {
        expected: std::any::type_name::<T>(),
        source,
    }
}
