//! A client that says who it is.

use kube::{Client, Config};

use crate::Error;

/// Makes a client that calls itself `velero/<version> (<os>/<arch>)`, or `velero-<component>/...` when `component`
/// is neither empty nor `velero`.
///
/// The client's own retries are switched off: [`Cluster`](crate::Cluster) repeats calls by itself, and knows which
/// may be repeated.
///
/// # Errors
/// When the configuration names certificates or a proxy that cannot be used.
pub fn client_from(mut config: Config, component: &str) -> Result<Client, Error> {
    let agent = user_agent(component);
    let value = http::HeaderValue::from_str(&agent).map_err(|source| Error::Config {
        source: Box::new(source),
    })?;
    config
        .headers
        .retain(|(name, _)| name != http::header::USER_AGENT);
    config.headers.push((http::header::USER_AGENT, value));
    config.default_retry = false;
    Client::try_from(config).map_err(|source| Error::Config {
        source: Box::new(source),
    })
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
