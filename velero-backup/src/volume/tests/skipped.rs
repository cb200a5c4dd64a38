use super::*;

#[tokio::test]
async fn why_volumes_are_left_out() {
    let items = || {
        vec![
            pod("web", "", "data"),
            claim("data", "pv"),
            volume("pv", "data", disk()),
        ]
    };
    let off = json!({"snapshotVolumes": false});
    for (spec, policies, items, expected) in [
        (json!({}), None, items(), format!("{OUT}{NONE}")),
        (off.clone(), None, items(), format!("{OUT}{NOT}")),
        (
            json!({}),
            None,
            vec![volume("pv", "", disk())],
            NONE.to_owned(),
        ),
        (
            json!({}),
            None,
            vec![volume("pv", "gone", disk())],
            NONE.to_owned(),
        ),
        (
            off.clone(),
            None,
            vec![volume("pv", "", disk())],
            NOT.to_owned(),
        ),
        // Rules of policies.
        (
            json!({}),
            Some("{action: {type: skip}}"),
            items(),
            format!("{SKIPPED}{OUT}{NOT}"),
        ),
        (
            json!({}),
            Some("{conditions: {storageClass: [gp2]}, action: {type: skip}}"),
            items(),
            format!("{SKIPPED}{OUT}{NOT}"),
        ),
        (
            json!({}),
            Some("{conditions: {storageClass: [x]}, action: {type: skip}}"),
            items(),
            format!("{OUT}{NONE}"),
        ),
        (
            json!({}),
            Some("{action: {type: custom}}"),
            items(),
            format!("{OUT}{NOT}"),
        ),
        (
            off.clone(),
            Some("{action: {type: snapshot}}"),
            items(),
            format!("{OUT}{NONE}"),
        ),
        (
            json!({}),
            Some("{conditions: {pvcLabels: {tier: db}}, action: {type: skip}}"),
            items(),
            format!("{SKIPPED}{OUT}{NOT}"),
        ),
        (
            json!({}),
            Some("{conditions: {pvcPhase: [Bound]}, action: {type: skip}}"),
            items(),
            format!("{SKIPPED}{OUT}{NOT}"),
        ),
        (
            json!({}),
            Some("{conditions: {pvcPhase: [Bound]}, action: {type: skip}}"),
            vec![volume("pv", "", disk())],
            NONE.to_owned(),
        ),
        (
            json!({}),
            Some("{action: {type: skip}}"),
            vec![volume("pv", "", disk())],
            NOT.to_owned(),
        ),
    ] {
        let world = World {
            spec: spec.clone(),
            policies,
            ..World::default()
        };
        assert_eq!(
            world.reasons(items).await,
            [format!("pv: {expected}")],
            "{spec} {policies:?}"
        );
    }
}

/// The entry of the peer for such a volume, field by field.
#[tokio::test]
async fn entries_of_volumes_that_are_left_out() {
    let mut pv = volume("pvc-1", "data", json!({"hostPath": {"path": "/"}}));
    pv["metadata"] = json!({"name": "pvc-1"});
    let (records, outcome) = World::default()
        .run(vec![pod("web", "", "data"), pv, claim("data", "pvc-1")])
        .await;
    assert!(records.is_empty(), "{records:?}");
    assert_eq!(
        serde_json::to_string(&outcome.infos).unwrap(),
        r#"[{"pvcName":"data","pvcNamespace":"shop","pvName":"pvc-1","snapshotDataMoved":false,"preserveLocalSnapshot":false,"skipped":true,"skippedReason":"podvolume: opted out due to annotation in pod web;volumeSnapshot: no applicable volumesnapshotter found;","pvInfo":{"reclaimPolicy":"Delete","labels":null}}]"#
    );
}

/// Claims without a volume are matched by what they have themselves, and never an error.
#[tokio::test]
async fn claims_without_a_volume() {
    for policies in [
        None,
        Some("{conditions: {pvcPhase: [Pending, Lost]}, action: {type: skip}}"),
    ] {
        let mut lost = claim("lost", "pv-gone");
        lost["status"]["phase"] = json!("Lost");
        let world = World {
            policies,
            ..World::default()
        };
        let (records, outcome) = world
            .run(vec![pod("web", "", "data"), claim("data", ""), lost])
            .await;
        assert!(
            records.is_empty() && outcome.infos.is_empty(),
            "{records:?} {outcome:?}"
        );
    }
}

/// What the CSI action did with the claim: a snapshot clears earlier reasons for good.
#[tokio::test]
async fn claims_after_the_csi_action() {
    use crate::prepared::CsiOutcome;
    for (csi, expected) in [
        (None, Some(OUT.to_owned())),
        (
            Some(CsiOutcome::NotCsi),
            Some(format!(
                "csiSnapshot: skipped b/c it's not a CSI volume;{OUT}"
            )),
        ),
        (Some(CsiOutcome::Taken), None),
    ] {
        let world = World {
            csi: true,
            ..World::default()
        };
        let source = json!({"csi": {"driver": "ebs", "volumeHandle": "h"}});
        let items = [
            pod("web", "", "data"),
            volume("pv", "data", source),
            claim("data", "pv"),
        ];
        let mut items: Vec<Prepared> = items.iter().map(prepared).collect();
        items[2].csi = csi;
        let mut volumes = world.volumes();
        volumes.protect(&items.iter().collect::<Vec<_>>()).await;
        let reason = volumes.finish().infos.pop().map(|info| info.skipped_reason);
        assert_eq!(reason, expected);
    }
}

/// Which claims the CSI action, and that of vSphere, do not see.
#[test]
fn claims_that_actions_do_not_see() {
    let csi = json!({"csi": {"driver": "ebs", "volumeHandle": "h"}});
    let off = json!({"snapshotVolumes": false});
    let bound = || claim("data", "pv");
    for (spec, policies, opt_in, claim, has_volume, expected) in [
        (json!({}), None, "", bound(), true, Bars::Nobody),
        (off.clone(), None, "", bound(), true, Bars::Csi),
        (json!({}), None, "d", bound(), true, Bars::Csi),
        (
            json!({}),
            Some("{action: {type: skip}}"),
            "",
            bound(),
            true,
            Bars::All,
        ),
        (
            json!({}),
            Some("{conditions: {pvcLabels: {tier: db}}, action: {type: skip}}"),
            "",
            bound(),
            true,
            Bars::All,
        ),
        (
            json!({}),
            Some("{action: {type: custom}}"),
            "",
            bound(),
            true,
            Bars::Csi,
        ),
        (
            json!({}),
            Some("{action: {type: fs-backup}}"),
            "",
            bound(),
            true,
            Bars::Csi,
        ),
        (
            off,
            Some("{action: {type: snapshot}}"),
            "d",
            bound(),
            true,
            Bars::Nobody,
        ),
        // Without a volume.
        (json!({}), None, "", claim("data", ""), false, Bars::Csi),
        (
            json!({}),
            Some("{conditions: {pvcPhase: [Pending]}, action: {type: skip}}"),
            "",
            claim("data", ""),
            false,
            Bars::All,
        ),
        (
            json!({}),
            Some("{conditions: {pvcPhase: [Pending]}, action: {type: snapshot}}"),
            "",
            claim("data", ""),
            false,
            Bars::Nobody,
        ),
    ] {
        let world = World {
            spec,
            policies,
            csi: true,
            copier: Some(Arc::default()),
            ..World::default()
        };
        let mut volumes = world.volumes();
        volumes.foresee(prepared(&pod("web", opt_in, "data")).pod.as_ref().unwrap());
        let volume = prepared(&volume("pv", "data", csi.clone())).original;
        let found = volumes.bars(&prepared(&claim).original, has_volume.then_some(&volume));
        assert_eq!(found, expected, "{} {policies:?} {opt_in}", world.spec);
    }
    for (bars, csi, vsphere, other) in [
        (Bars::Nobody, false, false, false),
        (Bars::Csi, true, false, false),
        (Bars::All, true, true, false),
    ] {
        let actions = [
            "velero.io/csi-pvc-backupper",
            "velero.io/vsphere-pvc-backupper",
            "velero.io/pv",
        ];
        assert_eq!(
            actions.map(|action| bars.keep_out(action)),
            [csi, vsphere, other]
        );
    }
}

#[tokio::test]
async fn skipped_items_and_odd_objects_are_left_alone() {
    let world = World {
        disks: vec![disks("pv")],
        ..World::default()
    };
    let mut volumes = world.volumes();
    let mut left_out = prepared(&volume("pv", "", disk()));
    left_out.skip = true;
    let odd = prepared(
        &json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-odd"}, "spec": "?"}),
    );
    assert!(volumes.protect(&[&left_out, &odd]).await.is_empty());
    // Seen twice, snapshotted once.
    let seen = prepared(&volume("pv", "", disk()));
    volumes.protect(&[&seen]).await;
    volumes.protect(&[&seen]).await;
    assert_eq!(volumes.finish().snapshots.len(), 1);
}
#[tokio::test]
async fn what_cannot_be_done_is_told() {
    // Nothing was plugged in that could copy files.
    let (records, outcome) = World::default()
        .run(vec![
            pod("web", "d,x", "data"),
            claim("data", "pv"),
            volume("pv", "data", disk()),
        ])
        .await;
    let warnings = messages(&records, Severity::Warning);
    assert!(
        warnings.len() == 1 && warnings[0].contains("names \"x\", which is no volume of the pod"),
        "{warnings:?}"
    );
    // What was asked for by name and is not there is no success.
    let errors = messages(&records, Severity::Error);
    assert!(
        errors.len() == 1 && errors[0].contains("this version cannot make file system backups"),
        "{errors:?}"
    );
    assert!(
        outcome.infos[0]
            .skipped_reason
            .starts_with("podvolume: volume d of pod shop/web: this version")
    );

    // The object of the volume is not in the backup: the copy is, its entry is not.
    let world = World {
        copier: Some(Arc::default()),
        ..World::default()
    };
    let (records, outcome) = world
        .run(vec![pod("web", "d", "data"), claim("data", "pv")])
        .await;
    assert!(records.is_empty());
    assert_eq!(
        (
            outcome.copies.len(),
            outcome.infos.len(),
            outcome.records.len()
        ),
        (1, 0, 1)
    );

    // Native snapshots cannot be moved.
    let spec = json!({"snapshotMoveData": true});
    let world = World {
        spec,
        disks: vec![disks("pv")],
        ..World::default()
    };
    let (records, outcome) = world.run(vec![volume("pv", "", disk())]).await;
    assert_eq!(
        (
            messages(&records, Severity::Warning).len(),
            outcome.snapshots.len()
        ),
        (1, 1)
    );
}
