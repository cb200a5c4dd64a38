//! What a restore remembers beyond its process, so that another process can go on with it.
//!
//! Most of it the cluster tells by itself: objects carry the label of the restore. Kept is only what it cannot tell: since
//! when the restore runs, how the hooks of its pods stand, what actions have started, and which volumes were made of
//! snapshots. Names that the API server would make up need no place in it: they follow from the restore's uid
//! (`apply::named`).

mod entries;
mod ledger;

use std::error::Error;

use async_trait::async_trait;

pub use entries::JournalEntries;
pub(crate) use entries::Started;
pub(crate) use ledger::Ledger;

/// Why a journal cannot be read or kept.
pub type JournalError = Box<dyn Error + Send + Sync>;

/// A place outside of the process where a restore keeps what the cluster cannot tell.
///
/// The engine reads it once, before anything is written, and keeps a first state before the first write. What comes later
/// is kept as a whole, in place of what was there, and several changes at once where they come fast. Steps that depend on
/// it wait: a hook begins when it is kept that it does, an item is created when the operation started for it is kept.
///
/// Who implements it sees to it that a reader finds an old or a new state, never a part, and gives up what another process
/// has taken over.
#[async_trait]
pub trait Journal: Send + Sync {
    /// What an earlier attempt of the same restore has left; `None` for the first one.
    ///
    /// # Errors
    /// When it cannot be read or understood. The restore ends then: it could do again what was done.
    async fn load(&self) -> Result<Option<JournalEntries>, JournalError>;

    /// Keeps the entries, in place of what was kept before.
    ///
    /// # Errors
    /// When they cannot be kept. The restore goes on, as what it restores is worth more than being interrupted well.
    async fn keep(&self, entries: &JournalEntries) -> Result<(), JournalError>;
}
