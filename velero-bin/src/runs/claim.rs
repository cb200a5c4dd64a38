//! The claim on a backup's name while the backup is written.

use std::time::Duration;

use velero_persistence::{BackupStore, Claimant, Error, ErrorKind, Reservation};

use super::{Clock, RunError};

/// Longest time without a sign of life before others may take the name.
pub(crate) const LEASE: Duration = Duration::from_secs(600);
/// Time between two signs of life.
const BEAT: Duration = Duration::from_secs(60);

/// Longest time for giving a name back; a claim that stays gives no more signs of life.
const RELEASE: Duration = Duration::from_secs(10);

/// The text by which a writer is known in the store: two servers can work on one resource, so its uid is not enough.
pub(crate) fn holder(uid: &str, writer: &str) -> String {
    format!("{uid}/{writer}")
}

/// Whether a claim belongs to a run of the resource with this uid, whoever runs it.
pub(crate) fn is_run_of(holder: &str, uid: &str) -> bool {
    holder
        .strip_prefix(uid)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A name that is held, and signs of life for it.
#[derive(Clone)]
pub(super) struct Claim {
    reservation: Reservation,
    clock: Clock,
}

impl Claim {
    /// Claims a backup that is in the store, to change its files.
    ///
    /// # Errors
    /// When there is no such backup, somebody else changes it, or the store fails.
    pub(super) async fn on_complete(
        store: &BackupStore,
        backup: &str,
        holder: &str,
        clock: Clock,
    ) -> Result<Self, RunError> {
        let claimant = Claimant::new(holder).lease(LEASE);
        let reservation = store
            .reserve_complete(backup, &claimant, clock())
            .await
            .map_err(RunError::store("claim the backup"))?;
        Ok(Self { reservation, clock })
    }

    /// Gives signs of life until the claim is lost or the task is ended. A store that is away for a while is borne with.
    pub(super) async fn beat(self) {
        loop {
            tokio::time::sleep(BEAT).await;
            match self.reservation.renew((self.clock)()).await {
                Ok(()) => {}
                Err(Error::ReservationLost { .. }) => return,
                Err(error) => tracing::warn!(
                    error = velero_core::result::chain(&error),
                    "the claim on the backup could not be renewed"
                ),
            }
        }
    }

    /// Claims the name of a backup.
    ///
    /// # Errors
    /// When a backup of that name exists, somebody else writes it, or the store fails.
    pub(super) async fn take(
        store: &BackupStore,
        backup: &str,
        holder: &str,
        clock: Clock,
    ) -> Result<Self, RunError> {
        let claimant = Claimant::new(holder).lease(LEASE);
        match store.reserve(backup, &claimant, clock()).await {
            Ok(reservation) => {
                if let Some(from) = reservation.taken_over() {
                    tracing::warn!(
                        from,
                        "the name of the backup was left behind, and is taken over with what lies there"
                    );
                }
                Ok(Self { reservation, clock })
            }
            Err(error @ Error::BackupReserved { .. }) => {
                Err(RunError::store("claim the name of the backup")(error))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(RunError::backup_exists(backup, store))
            }
            Err(error) => Err(RunError::store("claim the name of the backup")(error)),
        }
    }

    /// From whom the name was taken, and why, when it had been left behind.
    pub(super) fn taken_over(&self) -> Option<&str> {
        self.reservation.taken_over()
    }

    /// Gives signs of life until the claim is lost; then says why.
    pub(super) async fn keep(&self) -> Error {
        let mut misses = 0;
        loop {
            tokio::time::sleep(BEAT).await;
            match self.reservation.renew((self.clock)()).await {
                Ok(()) => misses = 0,
                Err(error @ Error::ReservationLost { .. }) => return error,
                // Others may take the name soon.
                Err(error) if BEAT * (misses + 2) >= LEASE => return error,
                Err(error) => {
                    misses += 1;
                    tracing::warn!(
                        error = velero_core::result::chain(&error),
                        misses,
                        "the claim on the backup's name could not be renewed"
                    );
                }
            }
        }
    }

    /// Makes sure that the name is still held.
    ///
    /// # Errors
    /// [`RunError::ClaimLost`], or the store's failure.
    pub(super) async fn confirm(&self) -> Result<(), RunError> {
        match self.reservation.renew((self.clock)()).await {
            Ok(()) => Ok(()),
            Err(error @ Error::ReservationLost { .. }) => Err(RunError::ClaimLost(error)),
            Err(error) => Err(RunError::store("renew the claim on the name of the backup")(error)),
        }
    }

    /// Gives the name back. A failure is logged: the backup itself is whole.
    pub(super) async fn release(self) {
        self.release_until(tokio::time::sleep(RELEASE)).await;
    }

    /// As [`Claim::release`], with an end of the caller's.
    pub(super) async fn release_until(self, end: impl Future<Output = ()>) {
        let now = (self.clock)();
        let error = tokio::select! {
            biased;
            released = self.reservation.release(now) => match released {
                Ok(()) => return,
                Err(error) => velero_core::result::chain(&error),
            },
            () = end => "the store has not answered in time".to_owned(),
        };
        tracing::warn!(error, "the claim on the backup's name stays in the store");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use velero_core::Timestamp;
    use velero_persistence::Location;

    use super::*;

    async fn store(name: &str) -> BackupStore {
        let location = Location::from_url(&format!("memory://{name}")).unwrap();
        BackupStore::open(&location).await.unwrap()
    }

    /// A clock that goes with the time of the tests' runtime.
    fn clock() -> Clock {
        let start = tokio::time::Instant::now();
        Arc::new(move || {
            let elapsed = i64::try_from(start.elapsed().as_secs()).unwrap();
            Timestamp::from_second(1_800_000_000 + elapsed).unwrap()
        })
    }

    #[test]
    fn runs_of_a_resource_are_known_by_its_uid() {
        let own = holder("u1", "w");
        for (uid, expected) in [("u1", true), ("u", false), ("u11", false), ("w", false)] {
            assert_eq!(is_run_of(&own, uid), expected, "{uid}");
        }
        // As releases before wrote it.
        assert!(is_run_of("u1", "u1"));
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_keep_the_name_for_as_long_as_it_takes() {
        let store = store("claims-kept").await;
        let claim = Claim::take(&store, "b", "one", clock()).await.unwrap();
        let hours = Duration::from_secs(3 * 3600);
        assert!(tokio::time::timeout(hours, claim.keep()).await.is_err());
        let late = Claim::take(&store, "b", "two", claim.clock.clone()).await;
        assert!(late.is_err());
        claim.confirm().await.unwrap();
        // Without them it is gone after the lease.
        tokio::time::sleep(LEASE + BEAT).await;
        let next = Claim::take(&store, "b", "two", claim.clock.clone())
            .await
            .unwrap();
        assert!(next.taken_over().is_some());
        assert!(matches!(claim.confirm().await, Err(RunError::ClaimLost(_))));
        let lost = tokio::time::timeout(BEAT * 2, claim.keep()).await.unwrap();
        assert!(lost.to_string().contains("\"two\" has taken it"), "{lost}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_stands_still_takes_nothing() {
        let store = store("claims-still").await;
        let now = Arc::new(AtomicI64::new(1_800_000_000));
        let seen = Arc::clone(&now);
        let clock: Clock =
            Arc::new(move || Timestamp::from_second(seen.load(Ordering::Relaxed)).unwrap());
        let _held = Claim::take(&store, "b", "one", clock.clone())
            .await
            .unwrap();
        tokio::time::sleep(LEASE * 5).await;
        assert!(
            Claim::take(&store, "b", "two", clock.clone())
                .await
                .is_err()
        );
        now.fetch_add(601, Ordering::Relaxed);
        assert!(Claim::take(&store, "b", "two", clock).await.is_ok());
    }
}
