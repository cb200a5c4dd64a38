use super::*;

#[tokio::test]
async fn a_claim_of_two_pods_is_copied_once() {
    for (broken, groups, expected, errors) in [
        ("", 1, &["web/d data c1"][..], 0),
        ("", 2, &["web/d data c1"], 0),
        ("web", 1, &["web2/d data c1"], 1),
        ("web", 2, &["web2/d data c1"], 1),
    ] {
        let copier = Arc::new(Copier {
            broken,
            ..Copier::default()
        });
        let world = World {
            copier: Some(Arc::clone(&copier)),
            ..World::default()
        };
        let mut items = vec![
            claim("data", "pv"),
            volume("pv", "data", disk()),
            pod("web", "d", "data"),
        ];
        let second = vec![pod("web2", "d", "data")];
        let groups = if groups == 1 {
            items.extend(second);
            vec![items]
        } else {
            vec![items, second]
        };
        let (records, outcome) = world.run_groups(groups).await;
        assert_eq!(*copier.created.lock().unwrap(), expected);
        assert_eq!(
            messages(&records, Severity::Error).len(),
            errors,
            "{records:?}"
        );
        // Once taken, a volume is not among those that were left out.
        assert!(
            outcome.infos.len() == 1 && !outcome.infos[0].skipped,
            "{:?}",
            outcome.infos
        );
    }
}

#[tokio::test]
async fn copies_that_cannot_be_made() {
    let with = |pointer: &str, value: Value| {
        let mut pod = pod("web", "d", "data");
        *pod.pointer_mut(pointer).unwrap() = value;
        pod
    };
    let block = json!([{"name": "c", "volumeDevices": [{"name": "d", "devicePath": "/dev/x"}]}]);
    let mut ending = pod("web", "d", "data");
    ending["metadata"]["deletionTimestamp"] = json!("2026-11-22T00:00:00Z");
    for (pod, source, reason) in [
        (
            with("/status/phase", json!("Pending")),
            disk(),
            "the pod is not running, its phase is Pending",
        ),
        (
            with("/status/phase", json!("Succeeded")),
            disk(),
            "the pod is not running, its phase is Succeeded",
        ),
        (ending, disk(), "the pod is being deleted"),
        (
            with("/spec/containers/0/volumeMounts", json!([])),
            disk(),
            "no container of the pod mounts it",
        ),
        (
            with("/spec/containers", block),
            disk(),
            "it is a block device",
        ),
        (
            pod("web", "d", "data"),
            json!({"hostPath": {"path": "/"}}),
            "it is a hostPath volume",
        ),
    ] {
        let copier = Arc::new(Copier::default());
        let world = World {
            copier: Some(Arc::clone(&copier)),
            ..World::default()
        };
        let items = vec![pod, claim("data", "pv"), volume("pv", "data", source)];
        let (records, outcome) = world.run(items.clone()).await;
        assert_eq!(
            messages(&records, Severity::Warning),
            [format!(
                "resource: /pods name: /web message: /the files of volume \"d\" are not copied: {reason}"
            )]
        );
        assert!(messages(&records, Severity::Error).is_empty() && outcome.copies.is_empty());
        assert_eq!(
            outcome.infos[0].skipped_reason,
            format!("podvolume: volume d of pod shop/web: {reason};{NONE}")
        );
        // The data is not lost for want of a copy: a snapshot is taken where one can be.
        let world = World {
            disks: vec![disks("pv")],
            ..world
        };
        assert_eq!(world.run(items).await.1.snapshots.len(), 1, "{reason}");
    }
}

#[tokio::test]
async fn how_copies_end() {
    let names = ["good", "bad", "stopped", "slow"];
    let volumes: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "emptyDir": {}}))
        .collect();
    let world = World {
        copier: Some(Arc::default()),
        ..World::default()
    };
    let (records, outcome) = world
        .run(vec![pod_with("web", &names.join(","), json!(volumes))])
        .await;
    let errors = messages(&records, Severity::Error);
    for part in [
        "\"bad\" failed: because",
        "\"stopped\" was cancelled: because",
        "\"slow\" has not ended within 1 s; it is New",
    ] {
        assert!(
            errors.iter().any(|e| e.contains(part)),
            "{part}: {errors:?}"
        );
    }
    assert_eq!((records.len(), errors.len()), (3, 3));
    let infos = serde_json::to_value(&outcome.infos).unwrap();
    assert_eq!(
        infos[0],
        json!({"backupMethod": "PodVolumeBackup", "snapshotDataMoved": false, "preserveLocalSnapshot": false, "skipped": false, "result": "succeeded",
            "pvbInfo": {"snapshotHandle": "s1", "size": 7, "uploaderType": "kopia", "volumeName": "good", "podName": "web", "podNamespace": "shop", "Phase": "Completed"}})
    );
    let results: Vec<_> = (0..4)
        .map(|at| infos[at]["result"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(results, ["succeeded", "failed", "failed", "failed"]);
    assert_eq!(outcome.copies.len(), 4);

    // Copies that cannot be looked at count as they were.
    for (name, reason) in [
        ("unreadable", "the api server is gone"),
        ("odd", "it panicked: what is this"),
    ] {
        let volumes = json!([{"name": name, "emptyDir": {}}]);
        let (records, outcome) = world.run(vec![pod_with("web", name, volumes)]).await;
        let errors = messages(&records, Severity::Error);
        assert_eq!((errors.len(), outcome.copies.len()), (2, 1), "{errors:?}");
        assert!(
            errors[0].ends_with(&format!("cannot be looked at: {reason}")),
            "{errors:?}"
        );
    }
}
