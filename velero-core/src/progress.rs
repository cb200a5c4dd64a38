//! How a run tells what it has done so far.

/// Counts of a run under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgressUpdate {
    /// Items known of so far; grows while lists are read.
    pub total: u64,
    /// Items done with.
    pub done: u64,
}

/// Receives the counts of a run. Called often: an implementation that does IO thins the calls out by itself.
pub trait Progress: Send + Sync {
    /// Takes the counts as they stand now.
    fn update(&self, update: ProgressUpdate) {
        let _ = update;
    }

    /// Is told once when the run begins to wait for something, such as `namespace shop to be gone, for up to 600s`.
    fn waiting(&self, what: &str) {
        let _ = what;
    }
}

/// A [`Progress`] that does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}

impl<F: Fn(ProgressUpdate) + Send + Sync> Progress for F {
    fn update(&self, update: ProgressUpdate) {
        self(update);
    }
}
