//! `velero version`.

use std::cmp::Ordering;

use anyhow::Result;
use velero_core::GoDuration;

use super::exit::Exit;
use super::{Environment, console, status, values};

/// Version of this program.
const CLIENT: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// Flags of `version`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Version {
    /// How long to wait for the server's answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::timeout)]
    timeout: GoDuration,
    /// Tell the client's version alone
    #[arg(long)]
    client_only: bool,
}

impl Version {
    /// Tells the versions. That the server does not answer is told in its place, and is no failure.
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        console::out(format_args!(
            "Client:\n\tVersion: {CLIENT}\n\tGit commit: -\n"
        ));
        if self.client_only {
            return Ok(Exit::Success);
        }
        match status::ask(environment, self.timeout.to_std()).await {
            Ok(status) => {
                let server = status.server_version;
                console::out(format_args!("Server:\n\tVersion: {server}\n"));
                if let Some(warning) = warning(CLIENT, &server) {
                    console::line(warning);
                }
            }
            Err(error) => console::line(format_args!("<error getting server version: {error}>")),
        }
        Ok(Exit::Success)
    }
}

/// What to say of versions whose first two numbers differ.
fn warning(client: &str, server: &str) -> Option<String> {
    let older = match numbers(client)?.cmp(&numbers(server)?) {
        Ordering::Less => "client",
        Ordering::Greater => "server",
        Ordering::Equal => return None,
    };
    Some(format!(
        "# WARNING: the client is {client} and the server {server}; update the {older}"
    ))
}

/// The first two numbers of a version such as `v1.18.2-rc.1`.
fn numbers(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.strip_prefix('v').unwrap_or(version).split('.');
    let (major, minor) = (parts.next()?, parts.next()?);
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_side_is_named() {
        for (client, server, older) in [
            ("v1.18.2", "v1.18.0-rc.1", None),
            ("v1.18.2", "1.18.7", None),
            ("v1.17.2", "v1.18.2", Some("client")),
            ("v1.18.2", "v1.9.0", Some("server")),
            ("v2.0.0", "v1.18.0", Some("server")),
            ("v1.18.2", "main", None),
            ("v1.18.2", "", None),
        ] {
            let found = warning(client, server);
            let expected = older.map(|older| format!("; update the {older}"));
            assert_eq!(found.is_some(), expected.is_some(), "{client} {server}");
            if let (Some(found), Some(expected)) = (found, expected) {
                assert!(found.ends_with(&expected), "{found}");
            }
        }
    }
}
