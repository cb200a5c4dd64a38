//! `backup download`: the file is there whole or not at all.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use velero_core::api::DownloadRequest;

use super::operated::Operated;
use crate::program::{Cluster, Ran, files, run};

/// What the store sends of an archive.
const ARCHIVE: &[u8] = b"all of the archive";

/// Answers one request by the name that it asks for.
async fn reply(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = vec![0; 4096];
    let read = stream.read(&mut request).await.unwrap();
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let whole = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        ARCHIVE.len()
    );
    let half = &ARCHIVE[..ARCHIVE.len() / 2];
    let sent = match request.split(' ').nth(1).unwrap() {
        "/whole" => [whole.as_bytes(), ARCHIVE].concat(),
        "/missing" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        "/refused" => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!\n".to_vec(),
        _ => [whole.as_bytes(), half].concat(),
    };
    stream.write_all(&sent).await.unwrap();
    if request.contains("/hangs ") {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

/// Gives out one address, and behind it an answer as the name in it says.
pub(super) async fn give_out(cluster: &Cluster, answer: &str, tls: Option<TlsAcceptor>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}/{answer}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            match &tls {
                None => drop(tokio::spawn(reply(stream))),
                // A client that trusts nobody ends the handshake.
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => drop(tokio::spawn(reply(stream))),
                    Err(_) => continue,
                },
            }
        }
    });
    let api: Api<DownloadRequest> = Api::namespaced(cluster.server.client(), "velero");
    tokio::spawn(async move {
        let status = json!({"status": {"phase": "Processed", "downloadURL": url}});
        loop {
            for request in api.list(&Default::default()).await.unwrap() {
                assert_eq!(request.spec.target.name, "b");
                assert_eq!(request.spec.target.kind.as_str(), "BackupContents");
                let patch = Patch::Merge(&status);
                let name = request.metadata.name.unwrap();
                let patched = api.patch(&name, &PatchParams::default(), &patch).await;
                patched.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// A cluster with a backup `b`, and a store with an answer.
async fn cluster(answer: &str) -> Cluster {
    let cluster = Cluster::installed().await;
    let backup = "{apiVersion: velero.io/v1, kind: Backup, metadata: {name: b, namespace: velero}, status: {phase: Completed}}";
    cluster.server.store().seed(backup).unwrap();
    give_out(&cluster, answer, None).await;
    cluster
}

/// Runs a line of words in a folder.
async fn run_in(cluster: &Cluster, folder: &Path, line: &str) -> Ran {
    let mut command = cluster.command(line.split(' '));
    command.current_dir(folder);
    run(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_fetched_from_the_operator() {
    let world = Operated::start().await;
    let backup = "backup create first --include-namespaces shop --wait";
    world.velero(backup).await.exits(0);
    let folder = tempfile::tempdir().unwrap();
    let cluster = &world.cluster;
    let text = run_in(cluster, folder.path(), "backup download first")
        .await
        .exits(0);
    assert_eq!(
        text,
        "Backup \"first\" has been successfully downloaded to first-data.tar.gz\n"
    );
    assert_eq!(files(folder.path()), ["first-data.tar.gz"]);
    let stored = world.bucket().join("backups/first/first.tar.gz");
    let fetched = folder.path().join("first-data.tar.gz");
    assert_eq!(
        std::fs::read(&fetched).unwrap(),
        std::fs::read(stored).unwrap()
    );
    let message = run_in(cluster, folder.path(), "backup download gone")
        .await
        .fails();
    assert_eq!(
        message,
        "backups.velero.io \"gone\" not found in namespace \"velero\""
    );
    assert_eq!(files(folder.path()), ["first-data.tar.gz"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_exists_is_replaced_by_force_alone() {
    let cluster = cluster("whole").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tgz");
    std::fs::write(&path, "old").unwrap();
    let line = "backup download b -o b.tgz";
    let message = run_in(&cluster, folder.path(), line).await.fails();
    assert_eq!(message, "the file b.tgz exists; --force replaces it");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    let line = format!("{line} --force");
    run_in(&cluster, folder.path(), &line).await.exits(0);
    assert_eq!(std::fs::read(&path).unwrap(), ARCHIVE);
    assert_eq!(files(folder.path()), ["b.tgz"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A link stays, and what it leads to is replaced; a device is not.
        std::fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("b.tgz", folder.path().join("link")).unwrap();
        let line = "backup download b -o link";
        let message = run_in(&cluster, folder.path(), line).await.fails();
        assert_eq!(message, "the file link exists; --force replaces it");
        run_in(&cluster, folder.path(), &format!("{line} --force"))
            .await
            .exits(0);
        assert_eq!(std::fs::read(&path).unwrap(), ARCHIVE);
        std::fs::remove_file(folder.path().join("link")).unwrap();
        let line = "backup download b --force -o /dev/null";
        let message = run_in(&cluster, folder.path(), line).await.fails();
        assert_eq!(message, "--output /dev/null is no regular file");
    }
    for (output, expected) in [
        (".", "--output . is a folder"),
        ("gone/b.tgz", "cannot write into the folder gone"),
    ] {
        let line = format!("backup download b --output {output}");
        let message = run_in(&cluster, folder.path(), &line).await.fails();
        assert!(message.starts_with(expected), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_whole_leaves_what_was_there() {
    for (answer, expected) in [
        ("breaks", "the download from 127.0.0.1 broke off: "),
        ("hangs", "the download from 127.0.0.1 was not done after "),
        ("missing", "the store has no archive of backup \"b\""),
        ("refused", "127.0.0.1 answered 403 Forbidden: no!"),
    ] {
        let cluster = cluster(answer).await;
        let folder = tempfile::tempdir().unwrap();
        let line = "backup download b --timeout 2s";
        let message = run_in(&cluster, folder.path(), line).await.fails();
        assert!(message.starts_with(expected), "{answer}: {message}");
        assert_eq!(files(folder.path()), [] as [&str; 0], "{answer}");

        let path = folder.path().join("b-data.tar.gz");
        std::fs::write(&path, "old").unwrap();
        let line = format!("{line} --force");
        let message = run_in(&cluster, folder.path(), &line).await.fails();
        assert!(message.starts_with(expected), "{answer}: {message}");
        assert_eq!(files(folder.path()), ["b-data.tar.gz"], "{answer}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old", "{answer}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_is_stopped_leaves_nothing() {
    let cluster = cluster("hangs").await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = cluster.command(["backup", "download", "b"]);
    command
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let begun = crate::server::eventually(async || {
        let files = files(folder.path());
        let part = files.first()?;
        let size = std::fs::metadata(folder.path().join(part)).ok()?.len();
        (size > 0).then_some(())
    });
    begun.await.unwrap();
    let pid = child.id().to_string();
    let kill = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(kill.unwrap().success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let output = output.await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.ends_with("An error occurred: stopped; b-data.tar.gz is not written\n"),
        "{stderr}"
    );
    assert_eq!(files(folder.path()), [] as [&str; 0]);
}
