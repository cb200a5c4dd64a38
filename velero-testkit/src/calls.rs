//! What clients asked of the server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Calls kept one by one; older ones are dropped, the counts stay complete.
const KEPT: usize = 500_000;

/// One call as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Call {
    /// API verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `apply`, `delete`, `deletecollection`; for paths
    /// that name no resource the HTTP method in lower case.
    pub verb: String,
    /// `plural` or `plural/subresource`; for paths that name no resource the path itself.
    pub resource: String,
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace in the path.
    pub namespace: Option<String>,
    /// Name in the path.
    pub name: Option<String>,
    /// `User-Agent` header.
    pub user_agent: Option<String>,
    /// `fieldManager` parameter.
    pub field_manager: Option<String>,
    /// Whether `dryRun=All` was asked.
    pub dry_run: bool,
    /// The query, as sent.
    pub query: String,
    /// HTTP code of the answer; 0 when the connection broke or the call is still running.
    pub code: u16,
}

impl Call {
    /// Whether this call asks for a change of the cluster.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !self.dry_run
            && matches!(
                self.verb.as_str(),
                "create" | "update" | "patch" | "apply" | "delete" | "deletecollection"
            )
    }
}

#[derive(Debug, Default)]
struct State {
    counts: BTreeMap<(String, String), u64>,
    log: std::collections::VecDeque<Call>,
    /// How many entries left the front of `log`, so that indexes stay valid.
    dropped: u64,
}

/// The calls that a server has received since its start or the last [`Calls::reset`].
///
/// Cheap to clone; all clones see the same log.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    state: Arc<Mutex<State>>,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of calls of `verb` on `resource` (`plural` or `plural/subresource`).
    #[must_use]
    pub fn count(&self, verb: &str, resource: &str) -> u64 {
        self.lock()
            .counts
            .get(&(verb.to_owned(), resource.to_owned()))
            .copied()
            .unwrap_or(0)
    }

    /// Number of calls of `verb` on any resource.
    #[must_use]
    pub fn count_verb(&self, verb: &str) -> u64 {
        self.lock()
            .counts
            .iter()
            .filter(|((v, _), _)| v == verb)
            .map(|(_, n)| n)
            .sum()
    }

    /// Number of all calls.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.lock().counts.values().sum()
    }

    /// Every count, by (verb, resource).
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(String, String), u64> {
        self.lock().counts.clone()
    }

    /// The last half million calls, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<Call> {
        self.lock().log.iter().cloned().collect()
    }

    /// The calls that asked for a change, oldest first.
    #[must_use]
    pub fn writes(&self) -> Vec<Call> {
        self.lock()
            .log
            .iter()
            .filter(|c| c.is_write())
            .cloned()
            .collect()
    }

    /// User agents seen, with the number of calls of each.
    #[must_use]
    pub fn user_agents(&self) -> BTreeMap<String, u64> {
        let mut agents = BTreeMap::new();
        for agent in self.lock().log.iter().filter_map(|c| c.user_agent.clone()) {
            *agents.entry(agent).or_insert(0) += 1;
        }
        agents
    }

    /// Field managers named on writes, with the number of calls of each.
    #[must_use]
    pub fn field_managers(&self) -> BTreeMap<String, u64> {
        let mut managers = BTreeMap::new();
        for manager in self
            .lock()
            .log
            .iter()
            .filter(|c| c.is_write())
            .filter_map(|c| c.field_manager.clone())
        {
            *managers.entry(manager).or_insert(0) += 1;
        }
        managers
    }

    /// Forgets every call.
    pub fn reset(&self) {
        let mut state = self.lock();
        let gone = state.dropped + state.log.len() as u64;
        *state = State {
            dropped: gone,
            ..State::default()
        };
    }

    /// Notes a call and returns its number for [`Calls::answered`].
    pub(crate) fn started(&self, call: Call) -> u64 {
        let mut state = self.lock();
        *state
            .counts
            .entry((call.verb.clone(), call.resource.clone()))
            .or_insert(0) += 1;
        if state.log.len() >= KEPT {
            state.log.pop_front();
            state.dropped += 1;
        }
        state.log.push_back(call);
        state.dropped + state.log.len() as u64 - 1
    }

    /// Notes the answer of a call.
    pub(crate) fn answered(&self, number: u64, code: u16) {
        let mut state = self.lock();
        let dropped = state.dropped;
        let index = number
            .checked_sub(dropped)
            .and_then(|i| usize::try_from(i).ok());
        if let Some(call) = index.and_then(|i| state.log.get_mut(i)) {
            call.code = code;
        }
    }
}
