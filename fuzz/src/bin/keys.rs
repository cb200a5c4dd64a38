//! Names that become keys of a bucket, and addresses of stores.
#![no_main]

use libfuzzer_sys::fuzz_target;
use velero_core::archive::ItemPath;
use velero_persistence::layout::download_target;
use velero_persistence::{BackupFile, Environment, Location, RestoreFile};

fuzz_target!(|text: &str| {
    for file in BackupFile::ALL {
        let key = file.of(text);
        assert!(key.key().starts_with("backups/"));
    }
    for file in RestoreFile::ALL {
        assert!(file.of(text).key().starts_with("restores/"));
    }
    let (kind, name) = text.split_once('\n').unwrap_or((text, text));
    let _ = download_target(kind, name);
    let _ = Location::from_url_in(text, &Environment::empty());
    if let Ok(Some(path)) = ItemPath::parse(text) {
        assert_eq!(path.to_string(), text);
    }
});
