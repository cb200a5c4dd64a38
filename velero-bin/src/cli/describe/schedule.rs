//! A schedule at length.

use velero_core::api::Schedule;

use super::backup::{references, spec};
use super::text::{Colors, Text};
use crate::cli::ages;

/// The text about one schedule.
pub(in crate::cli) fn describe_schedule(schedule: &Schedule, colors: Colors) -> String {
    let mut text = Text::default();
    text.metadata(&schedule.metadata, colors);
    text.gap();
    text.row([&"Phase:", &colors.phase(schedule.phase().as_str())]);
    references(&mut text, &schedule.spec.template);
    text.validation(&schedule.status.validation_errors, colors);
    text.gap();
    text.row([&"Paused:", &schedule.spec.paused]);
    text.gap();
    text.row([&"Schedule:", &schedule.spec.schedule]);
    text.gap();
    text.row([&"Backup Template:"]);
    let mut template = Text::default();
    spec(&mut template, &schedule.spec.template);
    text.indented(template, 1);
    text.gap();
    let last = ages::local(schedule.status.last_backup.as_ref(), "<never>");
    text.row([&"Last Backup:", &last]);
    text.render()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_template_is_indented() {
        let schedule: Schedule = serde_json::from_value(json!({
            "metadata": {"name": "nightly", "namespace": "velero", "labels": {"a": "b"}},
            "spec": {"schedule": "0 1 * * *", "paused": true, "template": {
                "includedNamespaces": ["shop"], "ttl": "72h0m0s", "orderedResources": {"pods": "shop/db"},
                "resourcePolicy": {"kind": "configmap", "name": "p"}, "uploaderConfig": {"parallelFilesUpload": 4}}},
            "status": {"phase": "FailedValidation", "validationErrors": ["bad"]},
        }))
        .unwrap();
        let expected = "\
Name:         nightly
Namespace:    velero
Labels:       a=b
Annotations:  <none>

Phase:  FailedValidation

Resource policies:
  Type:  configmap
  Name:  p

Uploader config:
  Parallel files upload:  4

Validation errors:
  bad

Paused:  true

Schedule:  0 1 * * *

Backup Template:
  Namespaces:
    Included:  shop
    Excluded:  <none>
  
  Resources:
    Included cluster-scoped:    <none>
    Excluded cluster-scoped:    <none>
    Included namespace-scoped:  *
    Excluded namespace-scoped:  <none>
  
  Label selector:  <none>
  
  Or label selector:  <none>
  
  Storage Location:  
  
  Velero-Native Snapshot PVs:  auto
  Snapshot Move Data:          auto
  Data Mover:                  velero
  
  TTL:  72h0m0s
  
  CSISnapshotTimeout:    0s
  ItemOperationTimeout:  0s
  
  Hooks:  <none>
  
  OrderedResources:
    pods: shop/db

Last Backup:  <never>
";
        assert_eq!(describe_schedule(&schedule, Colors(false)), expected);
    }
}
