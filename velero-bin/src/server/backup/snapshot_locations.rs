//! The volume snapshot locations of a backup: one for each provider.
//!
//! Mirrors `validateAndGetSnapshotLocations` in upstream's `pkg/controller/backup_controller.go`. What is chosen is
//! written into the spec, ordered by provider; nothing takes snapshots there yet.

use std::collections::BTreeMap;

use velero_core::api::{Backup, VolumeSnapshotLocation};

use crate::server::context::Context;
use crate::server::controller::Retry;
use crate::server::stores::{self, StoreError};

/// Chooses the locations of a backup, or says all that is wrong about them.
///
/// # Errors
/// When the API server does not answer.
pub(super) async fn of(
    context: &Context,
    backup: &Backup,
) -> Result<Result<Vec<String>, Vec<String>>, Retry> {
    let all: Vec<VolumeSnapshotLocation> = context.objects.list().await?;
    let defaults = &context.settings.default_snapshot_locations;
    let chosen = match choose(&backup.spec.volume_snapshot_locations, &all, defaults) {
        Ok(chosen) => chosen,
        Err(faults) => return Ok(Err(faults)),
    };
    let mut faults = Vec::new();
    for location in &chosen {
        let Some(selector) = &location.spec.credential else {
            continue;
        };
        match stores::check_secret(&context.objects, "spec.credential", selector).await {
            Ok(()) => {}
            Err(StoreError::Api { source, .. }) if source.is_retryable() => {
                return Err(source.into());
            }
            Err(error) => faults.push(format!(
                "volume snapshot location {:?}: {error}",
                name(location)
            )),
        }
    }
    if faults.is_empty() {
        Ok(Ok(chosen.into_iter().map(|l| name(l).to_owned()).collect()))
    } else {
        Ok(Err(faults))
    }
}

/// Chooses by name, by being the only one of a provider, or by the server's defaults, in this order.
fn choose<'a>(
    named: &[String],
    all: &'a [VolumeSnapshotLocation],
    defaults: &BTreeMap<String, String>,
) -> Result<Vec<&'a VolumeSnapshotLocation>, Vec<String>> {
    const FIELD: &str = "spec.volumeSnapshotLocations";
    let find = |wanted: &str| all.iter().find(|location| name(location) == wanted);
    let mut chosen: BTreeMap<&str, &VolumeSnapshotLocation> = BTreeMap::new();
    let mut faults = Vec::new();
    for wanted in named {
        let Some(location) = find(wanted) else {
            faults.push(format!(
                "{FIELD}: volume snapshot location {wanted:?} does not exist; name one of those in this namespace"
            ));
            continue;
        };
        let provider = location.spec.provider.as_str();
        let first = *chosen.entry(provider).or_insert(location);
        if name(first) != wanted {
            faults.push(format!(
                "{FIELD}: {:?} and {wanted:?} are both of provider {provider:?}; only one for each provider can be used",
                name(first)
            ));
        }
    }
    let mut by_provider: BTreeMap<&str, Vec<&VolumeSnapshotLocation>> = BTreeMap::new();
    for location in all {
        let provider = location.spec.provider.as_str();
        by_provider.entry(provider).or_default().push(location);
    }
    // Where a name was wrong, nobody knows which provider was meant.
    by_provider.retain(|provider, _| faults.is_empty() && !chosen.contains_key(provider));
    for (provider, locations) in by_provider {
        if let [only] = locations[..] {
            chosen.insert(provider, only);
            continue;
        }
        match defaults.get(provider).map(|default| (default, find(default))) {
            Some((_, Some(location))) => {
                chosen.insert(provider, location);
            }
            Some((default, None)) => faults.push(format!(
                "{FIELD}: volume snapshot location {default:?}, which --default-volume-snapshot-locations names for provider \
                 {provider:?}, does not exist"
            )),
            None => faults.push(format!(
                "{FIELD}: provider {provider:?} has {} volume snapshot locations; name one of them in \
                 --default-volume-snapshot-locations, or here beside spec.snapshotVolumes: false",
                locations.len()
            )),
        }
    }
    if faults.is_empty() {
        Ok(chosen.into_values().collect())
    } else {
        Err(faults)
    }
}

fn name(location: &VolumeSnapshotLocation) -> &str {
    location.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use velero_core::api::VolumeSnapshotLocationSpec;

    use super::*;

    fn location(name: &str, provider: &str) -> VolumeSnapshotLocation {
        let spec = VolumeSnapshotLocationSpec {
            provider: provider.to_owned(),
            ..Default::default()
        };
        VolumeSnapshotLocation::new("velero", name, spec)
    }

    #[test]
    fn one_for_each_provider() {
        let (one, two) = (location("a1", "aws"), location("a2", "aws"));
        let gcp = location("g1", "gcp");
        let several = [gcp.clone(), one.clone(), two];
        let single = [gcp, one];
        for (named, all, defaults, expected) in [
            (&[][..], &[][..], &[][..], Ok(&[][..])),
            // The only one of a provider is taken, ordered by provider.
            (&[], &single, &[], Ok(&["a1", "g1"])),
            (&["g1"], &single, &[], Ok(&["a1", "g1"])),
            (&["a2"], &several, &[], Ok(&["a2", "g1"])),
            (&["a2", "a2"], &several, &[], Ok(&["a2", "g1"])),
            (&[], &several, &[("aws", "a2")], Ok(&["a2", "g1"])),
            (&["a1"], &several, &[("aws", "a2")], Ok(&["a1", "g1"])),
            (&[], &single, &[("aws", "gone")], Ok(&["a1", "g1"])),
            (
                &[],
                &several,
                &[],
                Err(&["provider \"aws\" has 2 volume snapshot locations"][..]),
            ),
            (
                &[],
                &several,
                &[("aws", "gone")],
                Err(&["\"gone\", which --default-volume-snapshot-locations names"]),
            ),
            (&["a1", "a2"], &several, &[], Err(&["\"a1\" and \"a2\""])),
            (
                &["x", "a1", "a2", "y"],
                &several,
                &[],
                Err(&[
                    "\"x\" does not exist",
                    "\"a1\" and \"a2\"",
                    "\"y\" does not exist",
                ]),
            ),
        ] {
            let named: Vec<String> = named.iter().map(|name: &&str| (*name).to_owned()).collect();
            let defaults = defaults
                .iter()
                .map(|(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            match (choose(&named, all, &defaults), expected) {
                (Ok(found), Ok(expected)) => {
                    let found: Vec<&str> = found.into_iter().map(super::name).collect();
                    assert_eq!(found, expected, "{named:?} {defaults:?}");
                }
                (Err(faults), Err(parts)) => {
                    assert_eq!(faults.len(), parts.len(), "{faults:?}");
                    for (fault, part) in faults.iter().zip(parts) {
                        assert!(
                            fault.starts_with("spec.volumeSnapshotLocations: ")
                                && fault.contains(part),
                            "{fault} {part}"
                        );
                    }
                }
                (found, _) => panic!("{named:?} {defaults:?}: {found:?}"),
            }
        }
    }
}
