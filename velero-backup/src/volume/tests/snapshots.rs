use super::*;

#[tokio::test]
async fn native_snapshots() {
    let aws = disks("aws");
    let gcp = disks("gcp");
    let world = World {
        disks: vec![Arc::clone(&aws), gcp],
        ..World::default()
    };
    let mut plain = volume("gcp-1", "", disk());
    plain["metadata"]["labels"] = json!({});
    let (records, outcome) = world
        .run(vec![
            volume("aws-1", "data", disk()),
            plain,
            volume("nfs-1", "", disk()),
        ])
        .await;
    assert!(records.is_empty(), "{records:?}");
    assert_eq!(
        *aws.calls.lock().unwrap(),
        [
            "look vol-aws-1 z1",
            r#"take vol-aws-1 z1 {"team": "x", "velero.io/backup": "b1", "velero.io/pv": "aws-1"}"#
        ]
    );
    assert_eq!(
        serde_json::to_value(&outcome.snapshots).unwrap(),
        json!([
            {"spec": {"backupName": "b1", "backupUID": "u1", "location": "aws", "persistentVolumeName": "aws-1", "providerVolumeID": "vol-aws-1",
                "volumeType": "ssd", "volumeAZ": "z1", "volumeIOPS": 100}, "status": {"providerSnapshotID": "snap-vol-aws-1", "phase": "Completed"}},
            {"spec": {"backupName": "b1", "backupUID": "u1", "location": "gcp", "persistentVolumeName": "gcp-1", "providerVolumeID": "vol-gcp-1",
                "volumeType": "ssd"}, "status": {"providerSnapshotID": "snap-vol-gcp-1", "phase": "Completed"}},
        ])
    );
    let infos = serde_json::to_value(&outcome.infos).unwrap();
    assert_eq!(infos[0]["skippedReason"], NONE);
    assert_eq!(
        infos[1],
        json!({"pvcName": "data", "pvcNamespace": "shop", "pvName": "aws-1", "backupMethod": "NativeSnapshot", "snapshotDataMoved": false,
            "preserveLocalSnapshot": false, "skipped": false, "result": "succeeded",
            "nativeSnapshotInfo": {"snapshotHandle": "snap-vol-aws-1", "volumeType": "ssd", "volumeAZ": "z1", "iops": "100", "Phase": "Completed"},
            "pvInfo": {"reclaimPolicy": "Delete", "labels": {"topology.kubernetes.io/zone": "z1"}}})
    );
    assert_eq!(infos[2]["nativeSnapshotInfo"]["iops"], "0");
}

/// What is broken, the records, the phases of the snapshots and why the volume was left out.
#[tokio::test]
async fn snapshots_that_fail() {
    for (broken, record, phases, left_out) in [
        (
            "location",
            "volume snapshotter 1: it panicked when it was asked for its location: ",
            vec![],
            NONE,
        ),
        (
            "id",
            "location \"aws\" cannot tell whether the volume is one of its own: id is broken",
            vec![],
            NONE,
        ),
        (
            "look",
            "no snapshot: volume \"vol-aws-1\" cannot be looked at in location \"aws\": look is broken",
            vec![],
            "volumeSnapshot: no snapshot: volume",
        ),
        (
            "take",
            "the snapshot of volume \"vol-aws-1\" in location \"aws\" failed: take is broken",
            vec!["Failed"],
            "",
        ),
        ("panic", "failed: it panicked: no disk", vec!["Failed"], ""),
        ("hang", "failed: no answer within 0.1 s", vec!["Failed"], ""),
    ] {
        let disks = Arc::new(Disks {
            name: "aws",
            broken,
            ..Disks::default()
        });
        let world = World {
            disks: vec![disks],
            ..World::default()
        };
        let (records, outcome) = world.run(vec![volume("aws-1", "", disk())]).await;
        let errors = messages(&records, Severity::Error);
        assert!(
            errors.len() == 1 && errors[0].contains(record) && errors[0].contains("/aws-1"),
            "{broken}: {errors:?}"
        );
        let found: Vec<_> = outcome
            .snapshots
            .iter()
            .map(|s| s.status.phase.unwrap().to_string())
            .collect();
        assert_eq!(found, phases, "{broken}");
        let info = serde_json::to_value(&outcome.infos[0]).unwrap();
        if phases.is_empty() {
            assert!(
                info["skippedReason"]
                    .as_str()
                    .unwrap()
                    .starts_with(left_out),
                "{broken}: {info}"
            );
        } else {
            assert_eq!(
                (&info["result"], &info["skipped"]),
                (&json!("failed"), &json!(false)),
                "{broken}"
            );
        }
    }
    // The next location is asked when one cannot tell.
    let broken = Arc::new(Disks {
        name: "a",
        broken: "id",
        ..Disks::default()
    });
    let world = World {
        disks: vec![broken, disks("aws")],
        ..World::default()
    };
    let (records, outcome) = world.run(vec![volume("aws-1", "", disk())]).await;
    assert_eq!((records.len(), outcome.snapshots.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_location_that_holds_its_thread_does_not_hold_the_run() {
    let world = World {
        disks: vec![Arc::new(Disks {
            name: "aws",
            broken: "busy",
            ..Disks::default()
        })],
        ..World::default()
    };
    let began = std::time::Instant::now();
    let (records, outcome) = world.run(vec![volume("aws-1", "", disk())]).await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_eq!((records.len(), outcome.snapshots.len()), (1, 1));
}

/// Which snapshots are taken, and which files are copied.
#[tokio::test]
async fn who_takes_what() {
    let csi = json!({"csi": {"driver": "ebs", "volumeHandle": "h"}});
    let items = |opt_in: &str, source: &Value| {
        vec![
            pod("web", opt_in, "data"),
            claim("data", "aws-1"),
            volume("aws-1", "data", source.clone()),
        ]
    };
    let (disk, copied, none): (_, &[&str], &[&str]) = (disk(), &["web/d data c1"], &[]);
    let off = json!({"snapshotVolumes": false});
    for (spec, policies, with_csi, items, snapshots, copies) in [
        (json!({}), None, false, items("", &disk), 1, none),
        (json!({}), None, false, items("d", &disk), 0, copied),
        (off.clone(), None, false, items("", &disk), 0, none),
        (off.clone(), None, false, items("d", &disk), 0, copied),
        (
            json!({"defaultVolumesToFsBackup": true}),
            None,
            false,
            items("", &disk),
            0,
            copied,
        ),
        (
            off.clone(),
            Some("{action: {type: snapshot}}"),
            false,
            items("d", &disk),
            1,
            none,
        ),
        (
            json!({}),
            Some("{action: {type: fs-backup}}"),
            false,
            items("", &disk),
            0,
            copied,
        ),
        (
            json!({}),
            Some("{action: {type: skip}}"),
            false,
            items("d", &disk),
            0,
            none,
        ),
        (
            json!({}),
            Some("{action: {type: custom}}"),
            false,
            items("d", &disk),
            0,
            none,
        ),
        (
            json!({}),
            Some("{conditions: {pvcLabels: {tier: db}}, action: {type: fs-backup}}"),
            false,
            items("", &disk),
            0,
            copied,
        ),
        (
            off.clone(),
            Some("{conditions: {pvcLabels: {tier: db}}, action: {type: snapshot}}"),
            false,
            items("", &disk),
            1,
            none,
        ),
        (
            json!({}),
            Some("{conditions: {storageClass: [x]}, action: {type: skip}}"),
            false,
            items("", &disk),
            1,
            none,
        ),
        (json!({}), None, false, items("", &csi), 1, none),
        (json!({}), None, true, items("", &csi), 0, none),
        (json!({}), None, true, items("", &disk), 1, none),
    ] {
        let copier = Arc::new(Copier::default());
        let world = World {
            spec,
            policies,
            csi: with_csi,
            disks: vec![disks("aws")],
            copier: Some(Arc::clone(&copier)),
        };
        let (records, outcome) = world.run(items).await;
        assert!(records.is_empty(), "{records:?}");
        assert_eq!(
            outcome.snapshots.len(),
            snapshots,
            "{} {policies:?}",
            world.spec
        );
        assert_eq!(
            *copier.created.lock().unwrap(),
            copies,
            "{} {policies:?}",
            world.spec
        );
    }
}
