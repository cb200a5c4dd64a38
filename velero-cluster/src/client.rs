//! A client that says who it is.

use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};

use crate::Error;
use crate::contact::ContactLayer;

/// What a client says and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Part of the program, for the name in the User-Agent; the program itself when empty or `velero`.
    pub component: String,
    /// Longest wait for the first answer of the API server, the connection included; 15 s.
    pub first_answer: Duration,
    /// Longest wait for the head of each later answer. Default none: those who call set their own deadlines.
    pub every_answer: Option<Duration>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            component: String::new(),
            first_answer: Duration::from_secs(15),
            every_answer: None,
        }
    }
}

impl ClientOptions {
    /// Sets the part of the program.
    #[must_use]
    pub fn component(mut self, component: impl Into<String>) -> Self {
        self.component = component.into();
        self
    }

    /// Sets the longest wait for the first answer.
    #[must_use]
    pub fn first_answer(mut self, limit: Duration) -> Self {
        self.first_answer = limit;
        self
    }

    /// Sets the longest wait for each later answer. Not for clients that watch or read logs through proxies.
    #[must_use]
    pub fn every_answer(mut self, limit: Duration) -> Self {
        self.every_answer = Some(limit);
        self
    }
}

/// Makes a client that calls itself `velero/<version> (<os>/<arch>)`, or `velero-<component>/...` when `component`
/// is neither empty nor `velero`.
///
/// The client's own retries are switched off: [`Cluster`](crate::Cluster) repeats calls by itself, and knows which
/// may be repeated.
///
/// # Errors
/// When the configuration names certificates or a proxy that cannot be used.
pub fn client_from(config: Config, component: &str) -> Result<Client, Error> {
    client_with(config, &ClientOptions::default().component(component))
}

/// As [`client_from`], with options.
///
/// An API server that gives no answer is an error with a [`NoAnswer`](crate::NoAnswer) among its causes, which names
/// the address and says what happened.
///
/// # Errors
/// As [`client_from`].
pub fn client_with(mut config: Config, options: &ClientOptions) -> Result<Client, Error> {
    let agent = user_agent(&options.component);
    let value = http::HeaderValue::from_str(&agent).map_err(|source| Error::Config {
        source: Box::new(source),
    })?;
    config
        .headers
        .retain(|(name, _)| name != http::header::USER_AGENT);
    config.headers.push((http::header::USER_AGENT, value));
    config.default_retry = false;
    let contact = ContactLayer::new(
        &config.cluster_url,
        options.first_answer,
        options.every_answer,
    );
    let builder = ClientBuilder::try_from(config).map_err(|source| Error::Config {
        source: Box::new(source),
    })?;
    Ok(builder.with_layer(&contact).build())
}

fn user_agent(component: &str) -> String {
    let product = match component {
        "" | "velero" => "velero".to_owned(),
        other => format!("velero-{other}"),
    };
    format!(
        "{product}/{} ({}/{})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_agents_name_program_version_and_platform() {
        let own = user_agent("");
        assert!(
            own.starts_with("velero/0.") && own.ends_with(')') && own.contains('/'),
            "{own}"
        );
        assert!(user_agent("server").starts_with("velero-server/"));
    }

    #[tokio::test]
    async fn the_header_replaces_one_that_is_there() {
        let mut config = Config::new("http://127.0.0.1:1".parse().unwrap());
        config.headers.push((
            http::header::USER_AGENT,
            http::HeaderValue::from_static("x"),
        ));
        client_from(config, "velero").unwrap();
        let broken = Config::new("http://127.0.0.1:1".parse().unwrap());
        assert!(client_from(broken, "a\nb").is_err());
    }
}
