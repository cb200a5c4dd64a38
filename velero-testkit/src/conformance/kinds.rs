//! What is special about single built-in kinds.

use http::Method;
use serde_json::{Value, json};

use super::cx::PatchKind;
use super::{Cx, Failure, ensure, same, suite};

suite!(
    services_get_an_address,
    headless_services_get_none,
    node_ports_are_given_out_once,
    node_ports_have_a_range,
    services_keep_their_address,
    deployments_have_defaults,
    pods_have_defaults_and_a_token,
    pods_need_their_account,
    secrets_take_texts,
    immutable_data_stays,
    quantities_are_canonical,
    roles_of_bindings_stay,
    selectors_match_templates,
    selectors_stay,
    claims_and_volumes_are_protected,
    jobs_select_by_uid,
    scale_changes_replicas,
    autoscalers_have_defaults,
    events_have_two_views,
    storage_classes_have_defaults,
    access_is_reviewed,
);

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
}

fn deployment(replicas: i64) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(),
    }})
}

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn services_get_an_address(cx: Cx) -> Result<(), Failure> {
    let body = service(
        "one",
        json!({"selector": {"a": "b"}, "ports": [{"port": 80}]}),
    );
    let spec = cx.create(&cx.path("/api/v1", "services"), body).await?["spec"].clone();
    let ip = spec["clusterIP"].as_str().unwrap_or_default();
    ensure!(
        ip.parse::<std::net::IpAddr>().is_ok(),
        "clusterIP is {ip:?}"
    );
    same!(spec["clusterIPs"], json!([ip]), "clusterIPs");
    same!(spec["ipFamilies"], json!(["IPv4"]), "ipFamilies");
    same!(spec["ipFamilyPolicy"], "SingleStack", "ipFamilyPolicy");
    same!(spec["type"], "ClusterIP", "type");
    same!(spec["sessionAffinity"], "None", "sessionAffinity");
    same!(
        spec["internalTrafficPolicy"],
        "Cluster",
        "internalTrafficPolicy"
    );
    same!(
        spec["ports"],
        json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]),
        "ports"
    );
    let taken = service("two", json!({"clusterIP": ip, "ports": [{"port": 80}]}));
    let refused = cx
        .refused(422, Method::POST, &cx.path("/api/v1", "services"), taken)
        .await?;
    ensure!(
        refused.message.contains("provided IP is already allocated"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn headless_services_get_none(cx: Cx) -> Result<(), Failure> {
    let body = service("one", json!({"clusterIP": "None", "ports": [{"port": 80}]}));
    let spec = cx.create(&cx.path("/api/v1", "services"), body).await?["spec"].clone();
    same!(spec["clusterIPs"], json!(["None"]), "clusterIPs");
    let body = service(
        "two",
        json!({"type": "ExternalName", "externalName": "example.com"}),
    );
    let spec = cx.create(&cx.path("/api/v1", "services"), body).await?["spec"].clone();
    ensure!(
        spec.get("clusterIP").is_none(),
        "an external name has a clusterIP"
    );
    Ok(())
}

async fn node_ports_are_given_out_once(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "services");
    let made = cx
        .create(
            &path,
            service("one", json!({"type": "NodePort", "ports": [{"port": 80}]})),
        )
        .await?;
    let port = made["spec"]["ports"][0]["nodePort"].clone();
    ensure!(
        port.as_u64().is_some_and(|p| (30000..=32767).contains(&p)),
        "nodePort is {port}"
    );
    let body = service(
        "two",
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}),
    );
    let refused = cx.refused(422, Method::POST, &path, body.clone()).await?;
    same!(refused.reason, "Invalid", "reason");
    ensure!(
        refused
            .message
            .contains("provided port is already allocated"),
        "{}",
        refused.message
    );
    same!(
        refused.body["details"]["causes"][0]["field"],
        "spec.ports[0].nodePort",
        "field"
    );
    cx.delete(&format!("{path}/one"), json!({})).await?;
    cx.create(&path, body).await?;
    Ok(())
}

async fn node_ports_have_a_range(cx: Cx) -> Result<(), Failure> {
    let body = service(
        "one",
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
    );
    let refused = cx
        .refused(422, Method::POST, &cx.path("/api/v1", "services"), body)
        .await?;
    ensure!(
        refused
            .message
            .contains("The range of valid ports is 30000-32767"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn services_keep_their_address(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "services");
    let made = cx
        .create(
            &path,
            service("one", json!({"type": "NodePort", "ports": [{"port": 80}]})),
        )
        .await?;
    let one = format!("{path}/one");
    let body = service(
        "one",
        json!({"type": "NodePort", "ports": [{"port": 80}], "selector": {"a": "b"}}),
    );
    let changed = cx.update(&one, &body).await?;
    same!(
        changed["spec"]["clusterIP"],
        made["spec"]["clusterIP"],
        "clusterIP"
    );
    same!(changed["spec"]["ports"], made["spec"]["ports"], "ports");
    let patch = json!({"spec": {"clusterIP": "10.0.77.77", "clusterIPs": ["10.0.77.77"]}});
    cx.refused_patch(422, &one, PatchKind::Merge, patch).await?;
    Ok(())
}

async fn deployments_have_defaults(cx: Cx) -> Result<(), Failure> {
    let made = cx
        .create(&cx.path("/apis/apps/v1", "deployments"), deployment(0))
        .await?;
    let want = json!({
        "replicas": 0, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
        "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [{
                    "name": "c", "image": "nginx", "imagePullPolicy": "Always", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30,
            },
        },
    });
    same!(made["spec"], want, "spec");
    Ok(())
}

async fn pods_have_defaults_and_a_token(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps/kube-root-ca.crt");
    cx.until("kube-root-ca.crt", || async {
        Ok(cx.try_get(&path).await?.is_some())
    })
    .await?;
    let body = json!({"metadata": {"name": "one"}, "spec": {
        "schedulerName": "nobody",
        "containers": [{"name": "c", "image": "a:1", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}],
    }});
    let made = cx.create(&cx.path("/api/v1", "pods"), body).await?;
    let spec = &made["spec"];
    same!(spec["serviceAccountName"], "default", "serviceAccountName");
    same!(spec["enableServiceLinks"], true, "enableServiceLinks");
    same!(
        spec["preemptionPolicy"],
        "PreemptLowerPriority",
        "preemptionPolicy"
    );
    same!(
        spec["containers"][0]["resources"]["requests"],
        json!({"cpu": "1", "memory": "1Gi"}),
        "requests"
    );
    same!(
        spec["tolerations"].as_array().map(Vec::len),
        Some(2),
        "tolerations"
    );
    let volume = spec["volumes"][0]["name"].as_str().unwrap_or_default();
    ensure!(
        volume.starts_with("kube-api-access-"),
        "volume is {volume:?}"
    );
    same!(
        spec["containers"][0]["volumeMounts"][0]["name"],
        volume,
        "mount"
    );
    same!(made["status"]["phase"], "Pending", "phase");
    same!(made["status"]["qosClass"], "Guaranteed", "qosClass");
    Ok(())
}

async fn pods_need_their_account(cx: Cx) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": "one"}, "spec": {
        "serviceAccountName": "nobody", "containers": [{"name": "c", "image": "a:1"}],
    }});
    let refused = cx
        .refused(403, Method::POST, &cx.path("/api/v1", "pods"), body)
        .await?;
    ensure!(
        refused
            .message
            .contains("serviceaccount \"nobody\" not found"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn secrets_take_texts(cx: Cx) -> Result<(), Failure> {
    let body =
        json!({"metadata": {"name": "one"}, "stringData": {"a": "b"}, "data": {"c": "ZA=="}});
    let made = cx.create(&cx.path("/api/v1", "secrets"), body).await?;
    same!(made["data"], json!({"a": "Yg==", "c": "ZA=="}), "data");
    ensure!(made.get("stringData").is_none(), "stringData stays");
    same!(made["type"], "Opaque", "type");
    let patch = json!({"type": "example.io/own"});
    cx.refused_patch(
        422,
        &cx.path("/api/v1", "secrets/one"),
        PatchKind::Merge,
        patch,
    )
    .await?;
    Ok(())
}

async fn immutable_data_stays(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    cx.create(
        &path,
        json!({"metadata": {"name": "one"}, "data": {"a": "1"}, "immutable": true}),
    )
    .await?;
    let one = format!("{path}/one");
    let refused = cx
        .refused_patch(422, &one, PatchKind::Merge, json!({"data": {"a": "2"}}))
        .await?;
    ensure!(
        refused
            .message
            .contains("field is immutable when `immutable` is set"),
        "{}",
        refused.message
    );
    cx.patch(
        &one,
        PatchKind::Merge,
        json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .await?;
    Ok(())
}

async fn quantities_are_canonical(cx: Cx) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": "one"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1024Mi"}},
    }});
    let made = cx
        .create(&cx.path("/api/v1", "persistentvolumeclaims"), body)
        .await?;
    same!(
        made["spec"]["resources"]["requests"]["storage"],
        "1Gi",
        "storage"
    );
    same!(made["spec"]["volumeMode"], "Filesystem", "volumeMode");
    same!(made["status"]["phase"], "Pending", "phase");
    Ok(())
}

async fn roles_of_bindings_stay(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/apis/rbac.authorization.k8s.io/v1", "rolebindings");
    let body = json!({
        "metadata": {"name": "one"}, "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "joe"}],
    });
    let made = cx.create(&path, body).await?;
    same!(
        made["roleRef"]["apiGroup"],
        "rbac.authorization.k8s.io",
        "apiGroup of the role"
    );
    same!(
        made["subjects"][0]["apiGroup"],
        "rbac.authorization.k8s.io",
        "apiGroup of the subject"
    );
    let refused = cx
        .refused_patch(
            422,
            &format!("{path}/one"),
            PatchKind::Merge,
            json!({"roleRef": {"name": "s"}}),
        )
        .await?;
    ensure!(
        refused.message.contains("cannot change roleRef"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn selectors_match_templates(cx: Cx) -> Result<(), Failure> {
    let mut body = deployment(0);
    body["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
    let refused = cx
        .refused(
            422,
            Method::POST,
            &cx.path("/apis/apps/v1", "deployments"),
            body,
        )
        .await?;
    ensure!(
        refused
            .message
            .contains("`selector` does not match template `labels`"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn selectors_stay(cx: Cx) -> Result<(), Failure> {
    cx.create(&cx.path("/apis/apps/v1", "deployments"), deployment(0))
        .await?;
    let patch = json!({"spec": {
        "selector": {"matchLabels": {"app": "new"}}, "template": {"metadata": {"labels": {"app": "new"}}},
    }});
    let path = cx.path("/apis/apps/v1", "deployments/web");
    let refused = cx
        .refused_patch(422, &path, PatchKind::Merge, patch)
        .await?;
    ensure!(
        refused.message.contains("field is immutable"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn claims_and_volumes_are_protected(cx: Cx) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": "one"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}},
    }});
    let made = cx
        .create(&cx.path("/api/v1", "persistentvolumeclaims"), body)
        .await?;
    same!(
        made["metadata"]["finalizers"],
        json!(["kubernetes.io/pvc-protection"]),
        "finalizers of the claim"
    );
    let body = json!({"metadata": {"name": cx.namespace}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "none-other", "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/x"},
    }});
    let made = cx.create("/api/v1/persistentvolumes", body).await?;
    same!(
        made["metadata"]["finalizers"],
        json!(["kubernetes.io/pv-protection"]),
        "finalizers of the volume"
    );
    same!(
        made["spec"]["persistentVolumeReclaimPolicy"],
        "Retain",
        "reclaim policy"
    );
    cx.delete(
        &format!("/api/v1/persistentvolumes/{}", cx.namespace),
        json!({}),
    )
    .await?;
    cx.gone(&format!("/api/v1/persistentvolumes/{}", cx.namespace))
        .await?;
    let claim = cx.path("/api/v1", "persistentvolumeclaims/one");
    cx.delete(&claim, json!({})).await?;
    cx.gone(&claim).await
}

async fn jobs_select_by_uid(cx: Cx) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": "one"}, "spec": {
        "suspend": true,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a:1"}]}},
    }});
    let made = cx.create(&cx.path("/apis/batch/v1", "jobs"), body).await?;
    let uid = &made["metadata"]["uid"];
    let want = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    same!(made["spec"]["selector"], want, "selector");
    same!(
        made["spec"]["template"]["metadata"]["labels"]["job-name"],
        "one",
        "label"
    );
    same!(made["spec"]["backoffLimit"], 6, "backoffLimit");
    Ok(())
}

async fn scale_changes_replicas(cx: Cx) -> Result<(), Failure> {
    let mut body = deployment(0);
    body["spec"]["paused"] = true.into();
    cx.create(&cx.path("/apis/apps/v1", "deployments"), body)
        .await?;
    let path = cx.path("/apis/apps/v1", "deployments/web");
    let scale = cx
        .patch(
            &format!("{path}/scale"),
            PatchKind::Merge,
            json!({"spec": {"replicas": 2}}),
        )
        .await?;
    same!(scale["kind"], "Scale", "kind");
    same!(scale["spec"]["replicas"], 2, "replicas of the scale");
    same!(
        cx.get(&path).await?["spec"]["replicas"],
        2,
        "replicas of the Deployment"
    );
    Ok(())
}

/// What `kubectl autoscale` asks for: a kind of its own for `scale`, and an autoscaler with no more than it needs.
async fn autoscalers_have_defaults(cx: Cx) -> Result<(), Failure> {
    let resources = cx.get("/apis/apps/v1").await?["resources"].clone();
    let mut resources = resources.as_array().into_iter().flatten();
    let scale = resources.find(|r| r["name"] == "deployments/scale");
    let scale = scale.cloned().unwrap_or_default();
    let of_scale = json!([scale["group"], scale["version"], scale["kind"]]);
    same!(of_scale, json!(["autoscaling", "v1", "Scale"]), "scale");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let body =
        json!({"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}});
    let path = cx.path("/apis/autoscaling/v2", "horizontalpodautoscalers");
    let spec = cx.create(&path, body.clone()).await?["spec"].clone();
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
    same!(
        spec,
        json!({"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3, "metrics": [cpu]}),
        "spec"
    );
    cx.refused(409, Method::POST, &path, body).await?;
    Ok(())
}

async fn events_have_two_views(cx: Cx) -> Result<(), Failure> {
    let body = json!({
        "metadata": {"name": "one"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": cx.namespace},
        "reason": "Tested", "message": "hello", "type": "Normal",
    });
    cx.create(&cx.path("/api/v1", "events"), body).await?;
    let other = cx
        .get(&cx.path("/apis/events.k8s.io/v1", "events/one"))
        .await?;
    same!(other["apiVersion"], "events.k8s.io/v1", "apiVersion");
    same!(other["note"], "hello", "note");
    same!(other["regarding"]["name"], "p", "regarding");
    let path = format!(
        "{}?fieldSelector=involvedObject.name%3Dp",
        cx.path("/api/v1", "events")
    );
    same!(
        cx.get(&path).await?["items"].as_array().map(Vec::len),
        Some(1),
        "events of the pod"
    );
    Ok(())
}

async fn storage_classes_have_defaults(cx: Cx) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": cx.namespace}, "provisioner": "example.io/none"});
    let made = cx
        .create("/apis/storage.k8s.io/v1/storageclasses", body)
        .await?;
    cx.delete(
        &format!("/apis/storage.k8s.io/v1/storageclasses/{}", cx.namespace),
        json!({}),
    )
    .await?;
    same!(made["reclaimPolicy"], "Delete", "reclaimPolicy");
    same!(made["volumeBindingMode"], "Immediate", "volumeBindingMode");
    Ok(())
}

async fn access_is_reviewed(cx: Cx) -> Result<(), Failure> {
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": cx.namespace}},
    });
    let made = cx
        .create(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body,
        )
        .await?;
    same!(made["status"]["allowed"], true, "allowed");
    Ok(())
}
