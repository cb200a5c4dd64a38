//! What goes wrong on the way to a store, told apart and within seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::net::TcpListener;
use velero_persistence::{
    BackupStore, Environment, Error, ErrorKind, Location, ObjectStore, StoreOptions,
};

use crate::impatient;
use crate::server::{ACCESS_KEY, S3Server, credentials_file};

async fn open(
    server: &S3Server,
    change: impl FnOnce(&mut velero_persistence::LocationConfig),
) -> ObjectStore {
    let mut config = server.config("p");
    change(&mut config);
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    location.open().await.unwrap()
}

/// Runs every kind of request and returns their errors.
async fn everything(store: &ObjectStore) -> Vec<Error> {
    let write = async {
        let mut writer = store.writer("k").await?;
        writer.write(vec![1u8; 9 << 20]).await?;
        writer.close().await
    };
    vec![
        store.check().await.unwrap_err(),
        store.put("k", "x".into()).await.unwrap_err(),
        store.put_if_absent("k", "x".into()).await.unwrap_err(),
        store.get("k", 10).await.unwrap_err(),
        store.list("").await.unwrap_err(),
        store.delete_prefix("d/").await.unwrap_err(),
        write.await.unwrap_err(),
        BackupStore::new(store.clone())
            .validate()
            .await
            .unwrap_err(),
        BackupStore::new(store.clone())
            .list_backups()
            .await
            .unwrap_err(),
    ]
}

fn assert_text(err: &Error) {
    let text = err.to_string();
    assert!(!text.contains('\n') && text.len() < 500, "{text}");
    assert!(
        !text.contains("S3Error") && !text.contains("Unexpected"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_unreachable() {
    let server = S3Server::start().await;
    // A port nobody listens on: bound for a moment, then free again.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    let store = open(&server, |config| {
        config.config.insert("s3Url".to_owned(), url.clone());
    })
    .await;
    let start = Instant::now();
    let err = store.check().await.unwrap_err();
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(6), "{waited:?}");
    assert_eq!(err.kind(), ErrorKind::Unreachable);
    assert!(err.is_retryable());
    assert_eq!(
        err.to_string(),
        format!(
            "s3://bucket at {url}: cannot list \"p/\": the store cannot be reached: Connection refused (os error 111)"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_unreachable() {
    let server = S3Server::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = server.config("");
    let url = format!("http://{}", silent.local_addr().unwrap());
    config.config.insert("s3Url".to_owned(), url);
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    let store = location.with_options(impatient()).open().await.unwrap();
    let start = Instant::now();
    for err in everything(&store).await {
        assert_eq!(err.kind(), ErrorKind::Unreachable, "{err}");
        assert!(err.to_string().contains("no answer in time"), "{err}");
        assert_text(&err);
    }
    assert!(start.elapsed() < Duration::from_secs(40));
}

/// Without a second try: a store that was never heard is not heard by asking again.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_answers_is_given_up_after_one_wait() {
    assert!(StoreOptions::default().first_answer_timeout <= Duration::from_secs(30));
    let server = S3Server::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = server.config("p");
    let url = format!("http://{}", silent.local_addr().unwrap());
    config.config.insert("s3Url".to_owned(), url.clone());
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    let options = StoreOptions {
        first_answer_timeout: Duration::from_millis(400),
        ..StoreOptions::default()
    };
    let store = location.with_options(options).open().await.unwrap();
    let start = Instant::now();
    let err = BackupStore::new(store).list_backups().await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(err.kind(), ErrorKind::Unreachable);
    assert_eq!(
        err.to_string(),
        format!(
            "s3://bucket at {url}: cannot list \"p/backups/\": the store cannot be reached: no answer in time, which is 0.4 s"
        )
    );
}

/// Passes on what it is sent until it is told to hold everything back.
async fn gate(to: std::net::SocketAddr) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let closed = Arc::new(AtomicBool::new(false));
    let shut = Arc::clone(&closed);
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            if shut.load(Ordering::Relaxed) {
                held.push(near);
                continue;
            }
            let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
            let shut = Arc::clone(&shut);
            tokio::spawn(async move {
                let copy = tokio::io::copy_bidirectional(&mut near, &mut far);
                let closing = async {
                    while !shut.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                tokio::select! { _ = copy => {}, () = closing => {} }
            });
        }
    });
    (url, closed)
}

/// A store of the server behind a gate, and what shuts it.
async fn behind_gate(server: &S3Server, options: StoreOptions) -> (ObjectStore, Arc<AtomicBool>) {
    let (url, closed) = gate(server.addr).await;
    let mut config = server.config("p");
    config.config.insert("s3Url".to_owned(), url);
    let location = Location::from_config_in(&config, &Environment::empty()).unwrap();
    let store = location.with_options(options).open().await.unwrap();
    (store, closed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_falls_silent_holds_no_listing_for_longer_than_one_wait() {
    const IO_TIMEOUT: Duration = Duration::from_secs(2);
    let server = S3Server::start().await;
    let options = StoreOptions {
        io_timeout: IO_TIMEOUT,
        ..StoreOptions::default()
    };
    let (store, closed) = behind_gate(&server, options).await;
    store.put("k", "v".into()).await.unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 1);
    closed.store(true, Ordering::Relaxed);
    // An answer may be under way while the gate shuts: the first listing that fails is the one to look at.
    let (err, waited) = loop {
        let start = Instant::now();
        match store.list("").await {
            Ok(_) => tokio::task::yield_now().await,
            Err(err) => break (err, start.elapsed()),
        }
    };
    // Four tries of one second each, and pauses, were it not for the deadline around all of them: its text is that of
    // no single try.
    assert!(waited >= IO_TIMEOUT, "{waited:?}");
    assert!(
        err.to_string().ends_with("no answer in time, which is 2 s"),
        "{err}"
    );
}

/// Not one full wait for each: the first operation has found out, and the others have one short try.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_falls_silent_is_waited_for_once() {
    const IO: Duration = Duration::from_millis(900);
    const SILENT: Duration = Duration::from_millis(100);
    let server = S3Server::start().await;
    let options = StoreOptions {
        request_timeout: IO,
        io_timeout: IO,
        silent_timeout: SILENT,
        max_retries: 2,
        ..impatient()
    };
    let (store, closed) = behind_gate(&server, options).await;
    store.put("k", "v".into()).await.unwrap();
    let mut writer = store.writer("big").await.unwrap();
    writer.write(vec![1u8; 17 << 20]).await.unwrap();
    // The first parts are on their way or there.
    tokio::time::sleep(IO / 2).await;
    closed.store(true, Ordering::Relaxed);
    tokio::time::sleep(SILENT).await;
    let start = Instant::now();
    let first = store.put("k", "w".into()).await.unwrap_err();
    assert_eq!(first.kind(), ErrorKind::Unreachable, "{first}");
    // The parts under way may have found out before it, on a busy machine: then it has fewer tries.
    assert!(start.elapsed() >= SILENT, "{:?}", start.elapsed());
    let start = Instant::now();
    for at in 0..5 {
        let key = format!("k{at}");
        let errors = [
            store.put(&key, "x".into()).await.unwrap_err(),
            store.get(&key, 10).await.unwrap_err(),
            store.list("").await.unwrap_err(),
        ];
        for err in errors {
            assert_eq!(err.kind(), ErrorKind::Unreachable, "{err}");
            let text = err.to_string();
            assert!(
                text.ends_with("no answer in time, which is 0.1 s"),
                "{text}"
            );
        }
    }
    assert!(start.elapsed() < IO * 3, "{:?}", start.elapsed());
    let parts_left = writer.close().await;
    let text = parts_left.unwrap_err().to_string();
    let want = "; parts of the unfinished upload may stay in the store";
    assert!(text.ends_with(want), "{text}");
    // It is back, and the first answer gives requests their usual times and tries again.
    closed.store(false, Ordering::Relaxed);
    assert_eq!(store.get("k", 10).await.unwrap(), "v");
    closed.store(true, Ordering::Relaxed);
    tokio::time::sleep(SILENT).await;
    let start = Instant::now();
    store.put("k", "w".into()).await.unwrap_err();
    assert!(start.elapsed() >= IO * 3, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_is_named() {
    let server = S3Server::start().await;
    let store = open(&server, |config| config.bucket = "nowhere".to_owned()).await;
    let start = Instant::now();
    // The test server makes the bucket on a write; real ones refuse it as they refuse a listing.
    let named = |err: Error| {
        assert_eq!(err.kind(), ErrorKind::BucketNotFound, "{err}");
        assert!(!err.is_retryable());
        let text = err.to_string();
        assert!(
            text.ends_with("bucket \"nowhere\" does not exist"),
            "{text}"
        );
        assert_text(&err);
    };
    named(store.check().await.unwrap_err());
    named(store.list("").await.unwrap_err());
    named(store.delete_prefix("d/").await.unwrap_err());
    let backups = BackupStore::new(store.clone());
    named(backups.validate().await.unwrap_err());
    named(backups.list_backups().await.unwrap_err());
    let refuse = || {
        let mut script = server.script.lock().unwrap();
        script.code = "NoSuchBucket";
        script.faults = [StatusCode::NOT_FOUND].into();
    };
    refuse();
    named(store.put("k", "x".into()).await.unwrap_err());
    refuse();
    named(store.put_if_absent("k", "x".into()).await.unwrap_err());
    let mut writer = store.writer("k").await.unwrap();
    refuse();
    let write = async {
        writer.write(vec![1u8; 20 << 20]).await?;
        writer.close().await
    };
    named(write.await.unwrap_err());
    assert_eq!(
        store.check().await.unwrap_err().kind(),
        ErrorKind::BucketNotFound
    );
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_refused_at_once() {
    let server = S3Server::start().await;
    let wrong = "wrong-secret-wrong-secret";
    for (id, secret, want) in [
        (
            ACCESS_KEY,
            wrong,
            "SignatureDoesNotMatch: the secret access key does not fit",
        ),
        ("AKUNKNOWN", wrong, "access denied"),
    ] {
        let store = open(&server, |config| {
            config.credentials = Some(credentials_file(id, secret));
        })
        .await;
        let before = server.requests().len();
        let err = store.check().await.unwrap_err();
        assert_eq!(server.requests().len() - before, 1, "no second attempt");
        assert!(err.to_string().contains(want), "{err}");
        for err in everything(&store).await {
            assert_eq!(err.kind(), ErrorKind::PermissionDenied, "{err}");
            assert!(!err.is_retryable());
            assert_text(&err);
            assert!(!format!("{err} {err:?}").contains(wrong), "{err:?}");
        }
        assert!(!format!("{store:?}").contains(wrong));
        assert!(!format!("{:?}", store.backend()).contains(wrong));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_failures_are_tried_again() {
    let server = S3Server::start().await;
    let store = server.location("p").open().await.unwrap();
    let fail = |statuses: &[StatusCode]| {
        server.script.lock().unwrap().faults = statuses.iter().copied().collect();
    };
    let (busy, slow) = (
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::TOO_MANY_REQUESTS,
    );
    fail(&[busy, slow]);
    store.put("k", "value".into()).await.unwrap();
    fail(&[busy]);
    assert_eq!(store.get("k", 10).await.unwrap(), "value");
    fail(&[busy, StatusCode::INTERNAL_SERVER_ERROR]);
    assert_eq!(store.list("").await.unwrap().len(), 1);
    // In the middle of an upload: first for its start, then for a part.
    let mut writer = store.writer("big").await.unwrap();
    fail(&[busy, busy]);
    writer.write(vec![7u8; 17 << 20]).await.unwrap();
    fail(&[busy]);
    writer.write(vec![8u8; 9 << 20]).await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(store.size("big").await.unwrap(), Some(26 << 20));
    fail(&[busy]);
    store.delete("k").await.unwrap();
    assert!(!store.exists("k").await.unwrap());
}

/// Uploads until `refused` requests were answered with `status`, and returns how that ends.
async fn broken_upload(status: StatusCode, at: &str, refused: usize) -> Error {
    let server = S3Server::start().await;
    let options = velero_persistence::StoreOptions {
        io_timeout: Duration::from_secs(20),
        ..impatient()
    };
    let location = server.location("p").with_options(options);
    let store = location.open().await.unwrap();
    {
        let mut script = server.script.lock().unwrap();
        script.faults = vec![status; refused].into();
        script.only = Some(at.to_owned());
    }
    let mut writer = store.writer("big").await.unwrap();
    let err = async {
        writer.write(vec![7u8; 40 << 20]).await?;
        writer.close().await
    }
    .await
    .unwrap_err();
    assert!(store.list("").await.unwrap().is_empty());
    crate::conformance::assert_no_litter(&server.root()).await;
    let script = server.script.lock().unwrap();
    assert!(script.faults.is_empty(), "left: {:?}", script.faults);
    err
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_break_off_are_cleaned_up() {
    let (no, busy) = (StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE);
    // The start of the upload, one part of it, and its end; refused for good, or for longer than it is tried.
    for (status, at, refused, want) in [
        (no, "big?uploads", 1, ErrorKind::PermissionDenied),
        (no, "partNumber=2", 1, ErrorKind::PermissionDenied),
        (
            no,
            "POST /bucket/p/big?uploadId",
            1,
            ErrorKind::PermissionDenied,
        ),
        (busy, "partNumber=3", 2, ErrorKind::Unreachable),
        (
            busy,
            "POST /bucket/p/big?uploadId",
            2,
            ErrorKind::Unreachable,
        ),
    ] {
        let err = broken_upload(status, at, refused).await;
        assert_eq!(err.kind(), want, "{at}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn public_url_signs_and_the_other_serves() {
    let server = S3Server::start().await;
    let store = open(&server, |config| {
        config.config.insert(
            "publicUrl".to_owned(),
            "https://public.example.com".to_owned(),
        );
        config
            .config
            .insert("s3ForcePathStyle".to_owned(), "true".to_owned());
    })
    .await;
    store.put("k", "x".into()).await.unwrap();
    let url = store
        .presign_get("k", Duration::from_secs(60))
        .await
        .unwrap();
    assert!(
        url.starts_with("https://public.example.com/bucket/p/k?"),
        "{url}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_server_is_told_by_its_status() {
    let server = S3Server::start().await;
    let location = server.location("").with_options(impatient());
    let store = location.open().await.unwrap();
    server.script.lock().unwrap().faults = [StatusCode::BAD_GATEWAY; 2].into();
    let err = store.put("k", "x".into()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unreachable);
    assert!(err.to_string().contains("HTTP status 502"), "{err}");
    assert_eq!(server.requests().len(), 2, "one retry");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_without_conditional_writes_still_hold_backups() {
    let server = S3Server::start().await;
    let backups = BackupStore::open(&server.location("")).await.unwrap();
    let refuse_next = |skip: usize| {
        // Looks and reads go through; the conditional write itself is refused.
        let mut script = server.script.lock().unwrap();
        script.code = "NotImplemented";
        script.faults = vec![StatusCode::NOT_IMPLEMENTED; 1 - skip].into();
    };
    refuse_next(0);
    let err = backups.store().put_if_absent("k", "x".into()).await;
    assert_eq!(err.unwrap_err().kind(), ErrorKind::Unsupported);
    refuse_next(0);
    let create = velero_persistence::PutMode::Create;
    backups
        .put_metadata("b1", "{}".into(), create)
        .await
        .unwrap();
    refuse_next(0);
    let err = backups.put_metadata("b1", "{}".into(), create).await;
    assert_eq!(err.unwrap_err().kind(), ErrorKind::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_carry_what_the_settings_ask_for() {
    let server = S3Server::start().await;
    for (settings, header, want) in [
        (
            vec![],
            "user-agent",
            concat!("velero/", env!("CARGO_PKG_VERSION"), " ("),
        ),
        (
            vec![("serverSideEncryption", "AES256")],
            "x-amz-server-side-encryption",
            "AES256",
        ),
        (
            vec![("kmsKeyId", "alias/k"), ("serverSideEncryption", "AES256")],
            "x-amz-server-side-encryption",
            "aws:kms",
        ),
        (
            vec![("kmsKeyId", "alias/k")],
            "x-amz-server-side-encryption-aws-kms-key-id",
            "alias/k",
        ),
        (
            vec![("customerKeyEncryptionSecret", "s/k")],
            "x-amz-server-side-encryption-customer-algorithm",
            "AES256",
        ),
        (
            vec![("customerKeyEncryptionSecret", "s/k")],
            "x-amz-server-side-encryption-customer-key",
            "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        ),
    ] {
        let store = open(&server, |config| {
            config.customer_key = Some(vec![7; 32]);
            for (key, value) in settings {
                config.config.insert(key.to_owned(), value.to_owned());
            }
        })
        .await;
        // The test server knows no encryption; what it is asked for counts.
        let _ = store.put("k", "x".into()).await;
        let headers = server
            .script
            .lock()
            .unwrap()
            .headers
            .last()
            .unwrap()
            .clone();
        let found = headers.get(header).map(|value| value.to_str().unwrap());
        assert!(
            found.is_some_and(|value| value.starts_with(want)),
            "{header}: {found:?}"
        );
    }
}

/// The end of an upload is done, its answer is lost, and the second attempt finds no upload any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_last_answer_is_lost_has_arrived() {
    for (there_before, arrives, want) in [
        (false, true, true),
        (true, true, true),
        (false, false, false),
        (true, false, false),
    ] {
        let server = S3Server::start().await;
        let store = server.location("").open().await.unwrap();
        if there_before {
            store.put("k", vec![6u8; 9 << 20].into()).await.unwrap();
        }
        let mut writer = store.writer("k").await.unwrap();
        writer.write(vec![7u8; 9 << 20]).await.unwrap();
        if arrives {
            let other = server.location("").open().await.unwrap();
            other.put("k", vec![7u8; 9 << 20].into()).await.unwrap();
        }
        {
            let mut script = server.script.lock().unwrap();
            script.faults = [StatusCode::NOT_FOUND].into();
            script.only = Some("POST /bucket/k?uploadId".to_owned());
            script.code = "NoSuchUpload";
        }
        match writer.close().await {
            Ok(()) => assert!(want, "{there_before} {arrives}"),
            Err(err) => {
                assert!(!want, "{err}");
                assert!(err.is_retryable());
                assert!(err.to_string().contains("dropped the upload"), "{err}");
            }
        }
    }
}
