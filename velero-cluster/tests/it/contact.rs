//! API servers that never answer: told within seconds, with address and cause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use velero_cluster::kube::{Client, Config};
use velero_cluster::{
    ClientOptions, Cluster, ClusterOptions, Error, ErrorKind, ListOptions, ListScope,
    NoAnswerCause, client_from, client_with,
};
use velero_testkit::{Fault, FaultAction};

use crate::{connect_with, core, server_with};

const SHORT: Duration = Duration::from_millis(300);

fn config(url: &str) -> Config {
    Config::new(url.parse().unwrap())
}

/// Connects in vain; gives the error and how long that took.
async fn in_vain(client: Client, options: ClusterOptions) -> (Error, Duration) {
    let start = Instant::now();
    let error = Cluster::connect_with(client, options).await.unwrap_err();
    (error, start.elapsed())
}

/// Accepts connections and says nothing.
async fn silent() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    (url, task)
}

#[test]
fn the_defaults_keep_nobody_waiting() {
    let options = ClusterOptions::default();
    assert!(options.refused_timeout <= Duration::from_secs(15));
    assert!(options.first_answer_timeout <= Duration::from_secs(30));
    assert!(ClientOptions::default().first_answer < options.first_answer_timeout);
}

#[tokio::test]
async fn a_closed_port_is_given_up_and_named() {
    let client = client_from(config("http://127.0.0.1:9"), "").unwrap();
    let options = ClusterOptions::default().first_contact(SHORT, SHORT);
    let (error, took) = in_vain(client, options).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let found = error.no_answer().unwrap();
    assert_eq!(found.cause, NoAnswerCause::Refused);
    let line = velero_cluster::velero_core::result::chain(&error);
    // Both roots are asked for at the same time.
    assert_eq!(
        line.replace("/apis", "/api"),
        "cannot discover /api: the api server at http://127.0.0.1:9 cannot be reached: connection refused"
    );
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_named() {
    let (url, task) = silent().await;
    let client = client_with(config(&url), &ClientOptions::default().first_answer(SHORT)).unwrap();
    let (error, took) = in_vain(client, ClusterOptions::default()).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(
        error.to_string().replace("/apis", "/api"),
        format!(
            "cannot discover /api: the api server at {url} cannot be reached: no answer within 0.3 s"
        )
    );
    // A client of somebody else's making, whose address is not known.
    let client = Client::try_from(config(&url)).unwrap();
    let options = ClusterOptions::default().first_contact(SHORT, SHORT);
    let (error, took) = in_vain(client, options).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    task.abort();
}

#[tokio::test]
async fn an_untrusted_certificate_is_told_at_once() {
    let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(socket).await.is_ok() });
        }
    });
    for client in [
        client_from(config(&url), "").unwrap(),
        Client::try_from(config(&url)).unwrap(),
    ] {
        let (error, took) = in_vain(client, ClusterOptions::default()).await;
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error:?}");
        assert!(!error.is_retryable());
        assert!(
            error
                .to_string()
                .contains("its certificate is not trusted: "),
            "{error}"
        );
    }
    task.abort();
}

#[tokio::test]
async fn a_server_that_has_answered_may_take_its_time() {
    let server = server_with(&["a"], 3);
    let options = ClusterOptions::default().first_contact(SHORT, SHORT);
    let cluster = connect_with(&server, options).await;
    server
        .faults()
        .add(Fault::new(FaultAction::Slow(SHORT * 3)).verb("list"));
    let maps = core(&cluster, "configmaps");
    let mut pages = cluster.pages(&maps, ListScope::all(), ListOptions::default());
    let page = pages.next().await.unwrap().unwrap();
    let ours = page
        .items
        .iter()
        .filter(|item| item.head().name.starts_with('m'));
    assert_eq!(ours.count(), 3);
    // It goes away for longer than a stranger would be given.
    server.faults().clear();
    server.faults().add(
        Fault::new(FaultAction::ConnectionReset)
            .verb("get")
            .times(4),
    );
    assert!(cluster.get(&maps, "a", "m0000").await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_falls_silent_is_waited_for_once() {
    const CALL: Duration = Duration::from_millis(1500);
    const SILENT: Duration = Duration::from_millis(100);
    let server = server_with(&["a"], 3);
    let options = ClusterOptions::default()
        .timeouts(Duration::from_millis(500), CALL)
        .silent(SILENT);
    let cluster = connect_with(&server, options).await;
    let maps = core(&cluster, "configmaps");
    server
        .faults()
        .add(Fault::new(FaultAction::Slow(Duration::from_secs(3600))));
    let start = Instant::now();
    let first = cluster.get(&maps, "a", "m0000").await.unwrap_err();
    assert_eq!(first.kind(), ErrorKind::Timeout);
    assert!(start.elapsed() >= CALL - SHORT, "{:?}", start.elapsed());
    let start = Instant::now();
    for _ in 0..5 {
        let mut pages = cluster.pages(&maps, ListScope::all(), ListOptions::default());
        let error = pages.next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let line = error.to_string();
        assert!(
            line.contains("no answer within 0.1 s; the api server has answered nothing for "),
            "{line}"
        );
        let error = cluster.get(&maps, "a", "m0000").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    assert!(start.elapsed() < 2 * CALL, "{:?}", start.elapsed());
    // It is back: the first answer gives calls their usual time again.
    server.faults().clear();
    assert!(cluster.get(&maps, "a", "m0000").await.unwrap().is_some());
    server
        .faults()
        .add(Fault::new(FaultAction::Slow(SILENT * 3)).verb("get"));
    assert!(cluster.get(&maps, "a", "m0000").await.unwrap().is_some());
}

#[tokio::test]
async fn a_list_that_waits_in_vain_counts_as_well() {
    const CALL: Duration = Duration::from_millis(1200);
    let server = server_with(&["a"], 3);
    let options = ClusterOptions::default()
        .timeouts(Duration::from_millis(300), CALL)
        .silent(Duration::from_millis(100));
    let cluster = connect_with(&server, options).await;
    let maps = core(&cluster, "configmaps");
    server
        .faults()
        .add(Fault::new(FaultAction::Slow(Duration::from_secs(3600))));
    let list = || {
        let mut pages = cluster.pages(&maps, ListScope::all(), ListOptions::default());
        async move { pages.next().await.unwrap_err().kind() }
    };
    assert_eq!(list().await, ErrorKind::Timeout);
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(list().await, ErrorKind::Timeout);
    }
    assert!(start.elapsed() < CALL * 5 / 3, "{:?}", start.elapsed());
}
