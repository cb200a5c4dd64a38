//! Waiting for a backup or restore to end.

use std::time::Duration;

use anyhow::{Result, bail};
use velero_core::api::VeleroKind;

use super::console;
use super::objects::Objects;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// How many looks in a row may fail before the wait is given up.
const PATIENCE: u32 = 60;

/// Looks once a second until `ended`, with a dot each time.
///
/// There is no deadline: a backup may take days, and interrupting the command leaves it running.
///
/// # Errors
/// When the object is deleted meanwhile, or the API server does not answer for a minute.
pub(crate) async fn until<K: VeleroKind>(
    objects: &Objects<K>,
    name: &str,
    ended: impl Fn(&K) -> bool,
) -> Result<K> {
    let mut failures = 0;
    loop {
        match objects.find(name).await {
            Ok(Some(object)) if ended(&object) => {
                console::line("");
                return Ok(object);
            }
            Ok(Some(_)) => failures = 0,
            Ok(None) => bail!(
                "{} {name:?} was deleted while it was waited for",
                K::KIND.to_lowercase()
            ),
            Err(error) if failures >= PATIENCE => return Err(error),
            Err(_) => failures += 1,
        }
        console::out(".");
        tokio::time::sleep(PAUSE).await;
    }
}
