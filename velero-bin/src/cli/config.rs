//! The config file of the command line, `~/.config/velero/config.json`.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// What the config file says; other keys are left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    pub(crate) namespace: Option<String>,
    pub(crate) cacert: Option<PathBuf>,
    pub(crate) colorized: Option<bool>,
    pub(crate) features: Vec<String>,
}

impl ConfigFile {
    /// Reads the file of this user. One that is missing is empty; one that cannot be used is empty and gives a warning.
    pub(crate) fn load() -> (Self, Option<String>) {
        match std::env::var_os("HOME") {
            Some(home) => Self::read(&Path::new(&home).join(".config/velero/config.json")),
            None => (Self::default(), None),
        }
    }

    fn read(path: &Path) -> (Self, Option<String>) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return (Self::default(), None);
            }
            Err(error) => {
                return (
                    Self::default(),
                    Some(format!(
                        "cannot read the config file {}: {error}",
                        path.display()
                    )),
                );
            }
        };
        match serde_json::from_str::<serde_json::Map<String, Value>>(&text) {
            Ok(keys) => (Self::of(&keys), None),
            Err(error) => {
                let fault = format!(
                    "the config file {} is no json object: {error}",
                    path.display()
                );
                (Self::default(), Some(fault))
            }
        }
    }

    /// Values that are no strings count as absent, as with the peer.
    fn of(keys: &serde_json::Map<String, Value>) -> Self {
        let text = |key: &str| {
            keys.get(key)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        Self {
            namespace: text("namespace"),
            cacert: text("cacert").map(PathBuf::from),
            features: text("features")
                .map(|names| names.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            colorized: text("colorized")
                .map(|text| super::values::parse_bool(&text).unwrap_or(true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_leniently_as_the_peer_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert_eq!(ConfigFile::read(&path), (ConfigFile::default(), None));
        std::fs::write(
            &path,
            r#"{"namespace": "backup", "colorized": "no", "cacert": 3, "features": "A,B", "other": {}}"#,
        )
        .unwrap();
        let expected = ConfigFile {
            namespace: Some("backup".into()),
            colorized: Some(true),
            cacert: None,
            features: vec!["A".into(), "B".into()],
        };
        assert_eq!(ConfigFile::read(&path), (expected, None));
        std::fs::write(&path, "{").unwrap();
        let (config, warning) = ConfigFile::read(&path);
        assert_eq!(config, ConfigFile::default());
        assert!(warning.unwrap().contains("no json object"));
    }
}
