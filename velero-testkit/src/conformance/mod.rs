//! How an API server behaves, as checks that run on any of them.
//!
//! The checks take a [`kube::Client`]: run on [`crate::ApiServer`] they test this crate, run on a real control plane
//! they tell whether this crate is still right. Each check works in a namespace of its own.
//!
//! ```
//! use velero_testkit::{ApiServer, conformance};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let server = ApiServer::new();
//! let check = conformance::checks().into_iter().find(|c| c.name == "create_returns_server_fields").unwrap();
//! check.run(server.client()).await.unwrap();
//! # }
//! ```

mod containers;
mod cx;
mod definitions;
mod discovery;
mod kinds;
mod lifecycle;
mod lists;
mod objects;
mod ownership;
mod patches;
mod protobuf;
mod sizes;
mod watches;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use cx::{Cx, Failure};

/// What a check returns while it runs.
pub type CheckFuture = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// How long one check may take.
const DEADLINE: Duration = Duration::from_secs(90);

/// One check of the suite.
#[derive(Clone, Copy)]
pub struct Check {
    /// Name, unique in the suite.
    pub name: &'static str,
    body: fn(Cx) -> CheckFuture,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

impl Check {
    /// Runs the check in a new namespace, which is deleted afterwards.
    ///
    /// # Errors
    /// When the server does not behave as described, or does not answer in time.
    pub async fn run(&self, client: kube::Client) -> Result<(), Failure> {
        let cx = Cx::enter(client, self.name).await?;
        let ended = tokio::time::timeout(DEADLINE, (self.body)(cx.clone())).await;
        cx.leave().await;
        ended.unwrap_or(Err(Failure::Late {
            seconds: DEADLINE.as_secs(),
        }))
    }
}

/// Every check.
#[must_use]
pub fn checks() -> Vec<Check> {
    [
        objects::CHECKS,
        lists::CHECKS,
        patches::CHECKS,
        ownership::CHECKS,
        lifecycle::CHECKS,
        kinds::CHECKS,
        containers::CHECKS,
        definitions::CHECKS,
        discovery::CHECKS,
        watches::CHECKS,
        protobuf::CHECKS,
        sizes::CHECKS,
    ]
    .concat()
}

/// Lists the checks of a file.
macro_rules! suite {
    ($($name:ident),+ $(,)?) => {
        pub(super) const CHECKS: &[super::Check] = &[
            $(super::Check { name: stringify!($name), body: |cx| Box::pin($name(cx)) },)+
        ];
    };
}

/// Ends a check when a condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(super::Failure::Unexpected(format!($($text)+)));
        }
    };
}

/// Ends a check when two values differ.
macro_rules! same {
    ($left:expr, $right:expr, $what:expr) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            return Err(super::Failure::Unexpected(format!(
                "{}: {left:?}, want {right:?}",
                $what
            )));
        }
    }};
}

use ensure;
use same;
use suite;
