use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use velero_backup::{ErrorKind, archive_channel, artifacts};
use velero_core::{CancellationToken, ProgressUpdate};
use velero_testkit::{Fault, FaultAction};

use crate::faults::is_archive;
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_leaves_no_complete_archive() {
    let server = world();
    for at in 0..1000 {
        seed(&server, map("shop", &format!("m{at:05}"), json!({})));
    }
    let engine = engine(&server).await;
    let request = engine.request(&backup(json!({}))).await.unwrap();
    server.faults().add(
        Fault::new(FaultAction::Slow(Duration::from_secs(30)))
            .verb("list")
            .resource("secrets"),
    );
    for drop_it in [false, true] {
        let kept = Kept::default();
        let cancel = CancellationToken::new();
        let future = engine.run(&request, kept.clone(), run().cancel(cancel.clone()));
        if drop_it {
            assert!(
                tokio::time::timeout(Duration::from_millis(300), future)
                    .await
                    .is_err()
            );
        } else {
            let timer = cancel.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                timer.cancel();
            });
            assert_eq!(future.await.unwrap_err().kind(), ErrorKind::Cancelled);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let size = kept.bytes().len();
        assert!(!is_archive(&kept.bytes()));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(kept.bytes().len(), size, "something is still being written");
    }
}

pub(crate) struct Full(pub(crate) u64);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::StorageFull, "the disk is full"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_sink_that_fails_is_the_error_of_the_run() {
    let engine = engine(&world()).await;
    let request = engine.request(&backup(json!({}))).await.unwrap();
    for room in [0, 1000] {
        let error = engine.run(&request, Full(room), run()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Sink);
        assert!(
            velero_core::result::chain(&error).contains("the disk is full"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn chunks_for_an_upload() {
    let server = world();
    let engine = engine(&server).await;
    let whole = run_with(&engine, json!({})).await;
    let request = engine.request(&backup(json!({}))).await.unwrap();
    let (sink, mut chunks) = archive_channel(2);
    let upload = tokio::spawn(async move {
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok::<_, io::Error>(bytes)
    });
    engine.run(&request, sink, run()).await.unwrap();
    assert!(upload.await.unwrap().unwrap() == whole.archive);

    // An upload that fails ends the backup.
    let (sink, chunks) = archive_channel(2);
    drop(chunks);
    assert_eq!(
        engine.run(&request, sink, run()).await.unwrap_err().kind(),
        ErrorKind::Sink
    );

    // A backup that is given up never looks like a complete upload.
    server
        .faults()
        .add(Fault::new(FaultAction::Unauthorized).verb("list").skip(5));
    let (sink, mut chunks) = archive_channel(64);
    engine.run(&request, sink, run()).await.unwrap_err();
    let mut last = None;
    while let Some(chunk) = chunks.next().await {
        last = Some(chunk.is_ok());
    }
    assert_eq!(last, Some(false));
}

#[tokio::test]
async fn progress_ends_at_what_the_result_says() {
    let (total, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (t, d) = (Arc::clone(&total), Arc::clone(&done));
    let progress = move |update: ProgressUpdate| {
        assert!(update.done <= update.total);
        t.store(update.total, Ordering::SeqCst);
        d.store(update.done, Ordering::SeqCst);
    };
    let engine = engine(&world()).await;
    let request = engine
        .request(&backup(json!({"includedNamespaces": ["shop"]})))
        .await
        .unwrap();
    let result = engine
        .run(
            &request,
            Kept::default(),
            run().progress(Arc::new(progress)),
        )
        .await
        .unwrap();
    assert_eq!(
        (total.load(Ordering::SeqCst), done.load(Ordering::SeqCst)),
        (result.total, result.backed_up)
    );
    assert_eq!(result.total, result.backed_up);
}

#[tokio::test]
async fn documents_beside_the_archive() {
    let server = world();
    let done = back_up(&server, json!({"includedNamespaces": ["shop", "nowhere"]})).await;
    let all = artifacts::artifacts(&done.result);
    assert_eq!(all.len(), 6);
    let status = artifacts::final_status(&backup(json!({})), &done.result);
    assert_eq!(
        status.phase,
        Some(velero_core::api::BackupPhase::PartiallyFailed)
    );
    assert_eq!((status.errors, status.warnings), (1, 0));
    let list = serde_json::to_value(&done.result.resource_list).unwrap();
    assert_eq!(list["v1/Pod"], json!(["shop/web"]));
    assert_eq!(list["v1/PersistentVolume"], json!(["pv-shop"]));
}
