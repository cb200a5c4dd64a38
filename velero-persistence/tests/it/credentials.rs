//! Credentials stay with their location, are read anew, and show up nowhere.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use velero_persistence::{Environment, ErrorKind, Location, LocationConfig, Result};

use crate::azure_server::{self, AzureServer};
use crate::gcp_server::{self, GcpServer};
use crate::server::{ACCESS_KEY, S3Server, SECRET_KEY, credentials_file};

/// Secrets that no server knows, in the form that each provider has for them.
const WRONG_AWS: &str = "wrong-secret-of-aws";
const WRONG_AZURE: &str = "d3Jvbmcta2V5LW9mLWF6dXJl";

async fn check(config: &LocationConfig, env: &[(&str, &str)]) -> Result<()> {
    let env: Environment = env.iter().copied().collect();
    let location = Location::from_config_in(config, &env)?.with_options(crate::impatient());
    let store = location.open().await?;
    store.put("k", "v".into()).await?;
    store.check().await
}

/// Settings with the right credentials, with wrong ones, and the environment that has the right ones.
type Case = (LocationConfig, LocationConfig, Vec<(&'static str, String)>);

async fn cases(servers: &(S3Server, AzureServer, GcpServer), dir: &std::path::Path) -> Vec<Case> {
    let (s3, azure, gcp) = servers;
    let key_file = dir.join("key.json");
    std::fs::write(&key_file, gcp.key_file()).unwrap();
    let key_file = key_file.to_str().unwrap().to_owned();
    let with = |mut config: LocationConfig, file: String| {
        config.credentials = Some(file.into_bytes());
        config
    };
    let wrong_aws = String::from_utf8(credentials_file(ACCESS_KEY, WRONG_AWS)).unwrap();
    let somebody = gcp.key_file().replace(gcp_server::EMAIL, "somebody@else");
    vec![
        (
            s3.config(""),
            with(s3.config(""), wrong_aws),
            vec![
                ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ],
        ),
        (
            azure.config(""),
            with(azure.config(""), format!("ACCOUNT_KEY={WRONG_AZURE}")),
            vec![
                ("AZURE_STORAGE_KEY", azure_server::KEY.to_owned()),
                ("ACCOUNT_KEY", azure_server::KEY.to_owned()),
            ],
        ),
        (
            gcp.config(""),
            with(gcp.config(""), somebody),
            vec![("GOOGLE_APPLICATION_CREDENTIALS", key_file)],
        ),
    ]
}

async fn servers() -> (S3Server, AzureServer, GcpServer) {
    (
        S3Server::start().await,
        AzureServer::start().await,
        GcpServer::start().await,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_one_location_never_serve_another() {
    let servers = servers().await;
    let dir = tempfile::TempDir::new().unwrap();
    for (right, wrong, env) in cases(&servers, dir.path()).await {
        let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
        for _ in 0..3 {
            // Neither a neighbour that works nor the environment helps out.
            let (good, bad) = tokio::join!(check(&right, &[]), check(&wrong, &env));
            good.unwrap();
            let err = bad.unwrap_err();
            assert_eq!(err.kind(), ErrorKind::PermissionDenied, "{err}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_secrets_count_from_the_next_opening_on() {
    let servers = servers().await;
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("credentials");
    let path = file.to_str().unwrap();
    let variables = [
        "AWS_SHARED_CREDENTIALS_FILE",
        "AZURE_CREDENTIALS_FILE",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ];
    for ((right, wrong, _), variable) in cases(&servers, dir.path()).await.iter().zip(variables) {
        let mut plain = right.clone();
        plain.credentials = None;
        let env = [(variable, path)];
        for (config, works) in [(wrong, false), (right, true), (wrong, false)] {
            // As a secret of the location, and as a file that the environment names.
            assert_eq!(check(config, &[]).await.is_ok(), works, "{variable}");
            std::fs::write(&file, config.credentials.as_ref().unwrap()).unwrap();
            assert_eq!(check(&plain, &env).await.is_ok(), works, "{variable}");
        }
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl Visit for Lines {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = self.0.lock().unwrap();
        text.push_str(&format!("{}={value:?}\n", field.name()));
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// On one thread, so that everything is logged where it is listened to.
#[tokio::test]
async fn no_text_shows_a_secret() {
    let lines = Lines::default();
    let _listening = tracing::subscriber::set_default(lines.clone());
    let servers = servers().await;
    let dir = tempfile::TempDir::new().unwrap();
    let mut texts = String::new();
    for (right, wrong, env) in cases(&servers, dir.path()).await {
        let env: Environment = env.into_iter().collect();
        for config in [&right, &wrong] {
            let location = Location::from_config_in(config, &env).unwrap();
            let location = location.with_options(crate::impatient());
            let store = location.open().await.unwrap();
            texts += &format!(
                "{config:?} {env:?} {location:?} {store:?} {}",
                store.describe()
            );
            for outcome in [
                store.check().await,
                store.put("k", "v".into()).await,
                store.get("no", 1).await.map(drop),
                store.presign_get("k", Duration::ZERO).await.map(drop),
            ] {
                texts += &outcome
                    .err()
                    .map_or(String::new(), |err| format!("{err} {err:?}"));
            }
        }
    }
    // A store that is not there has its requests tried again, which is logged.
    let mut gone = servers.0.config("");
    gone.config
        .insert("s3Url".to_owned(), "http://127.0.0.1:1".to_owned());
    texts += &format!("{:?}", check(&gone, &[]).await.unwrap_err());
    let logged = lines.0.lock().unwrap().clone();
    assert!(logged.contains("tried again"), "{logged}");
    texts += &logged;
    let of_a_key = gcp_server::KEY.lines().nth(1).unwrap();
    for secret in [
        SECRET_KEY,
        WRONG_AWS,
        WRONG_AZURE,
        azure_server::KEY,
        of_a_key,
    ] {
        assert!(!texts.contains(secret), "{secret}: {texts}");
    }
}
