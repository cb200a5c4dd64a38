//! Who writes: a process, described so that another one on the same machine can tell whether it still lives.

use serde::{Deserialize, Serialize};

/// A process of some machine.
///
/// On Linux, [`ProcessId::has_ended`] tells for certain that a process of the same machine, container and user has
/// ended. For all others, and on other systems, it does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessId {
    /// Name of the machine.
    pub host: String,
    /// Number of the process.
    pub pid: u32,
    /// The boot of the machine and the space that the number is from; empty where that is not known.
    space: String,
    /// When the process began, in ticks since the boot; tells it from a later one of the same number.
    began: String,
    /// Number of the user.
    user: u32,
}

impl ProcessId {
    /// The present process.
    pub fn current() -> Self {
        let pid = std::process::id();
        Self {
            host: host(),
            pid,
            space: system::space(),
            began: system::look(pid).unwrap_or_default(),
            user: system::user(),
        }
    }

    /// Whether the process is known to have ended.
    pub fn has_ended(&self) -> bool {
        let comparable = !self.space.is_empty()
            && !self.began.is_empty()
            && self.space == system::space()
            && self.user == system::user();
        comparable && system::look(self.pid).as_deref() != Some(self.began.as_str())
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.pid)?;
        match self.host.as_str() {
            "" => Ok(()),
            host => write!(f, " on {host}"),
        }
    }
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default()
}

#[cfg(target_os = "linux")]
mod system {
    use std::os::unix::fs::MetadataExt as _;

    /// The boot and the name space of process numbers; empty when either is hidden.
    pub(super) fn space() -> String {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let numbers = std::fs::read_link("/proc/self/ns/pid")
            .map(|link| link.display().to_string())
            .unwrap_or_default();
        match (boot.trim(), numbers.as_str()) {
            ("", _) | (_, "") => String::new(),
            (boot, numbers) => format!("{boot} {numbers}"),
        }
    }

    pub(super) fn user() -> u32 {
        std::fs::metadata("/proc/self").map_or(0, |meta| meta.uid())
    }

    /// When a process began; `None` when there is none, or only what is left of one.
    pub(super) fn look(pid: u32) -> Option<String> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in front may hold anything, so fields count from its closing bracket.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let began = fields.nth(18)?;
        (!matches!(state, "Z" | "X")).then(|| began.to_owned())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn space() -> String {
        String::new()
    }

    pub(super) fn user() -> u32 {
        0
    }

    pub(super) fn look(_pid: u32) -> Option<String> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_counts_as_ended() {
        let own = ProcessId::current();
        assert!(!own.has_ended(), "{own:?}");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let other = ProcessId {
            pid: child.id(),
            began: system::look(child.id()).unwrap(),
            ..own.clone()
        };
        assert!(!other.has_ended());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(other.has_ended());
        for (what, changed, ended) in [
            (
                "a later process of the same number",
                ProcessId {
                    began: "1".to_owned(),
                    ..own.clone()
                },
                true,
            ),
            (
                "another machine",
                ProcessId {
                    space: "other".to_owned(),
                    ..other.clone()
                },
                false,
            ),
            (
                "another user, whose processes may be hidden",
                ProcessId {
                    user: own.user + 1,
                    ..other.clone()
                },
                false,
            ),
            ("nothing known", ProcessId::default(), false),
        ] {
            assert_eq!(changed.has_ended(), ended, "{what}");
        }
    }
}
