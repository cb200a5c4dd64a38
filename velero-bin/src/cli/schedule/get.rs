//! Schedules in a table.

use jiff::Timestamp;
use velero_core::api::Schedule;

use super::super::ages;
use super::super::listed::{Listed, selector_cell};

impl Listed for Schedule {
    const NOUN: &'static str = "schedule";
    const HEADINGS: &'static [&'static str] = &[
        "name",
        "status",
        "created",
        "schedule",
        "backup ttl",
        "last backup",
        "selector",
        "paused",
    ];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let template = &self.spec.template;
        let last = self.status.last_backup.as_ref().map(|time| time.0);
        vec![
            self.metadata.name.clone().unwrap_or_default(),
            self.phase().to_string(),
            ages::local(self.metadata.creation_timestamp.as_ref(), "<nil>"),
            self.spec.schedule.clone(),
            template.ttl.to_string(),
            ages::relative(last, now),
            selector_cell(template.label_selector.as_ref()),
            self.spec.paused.to_string(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn rows_tell_state_and_last_backup() {
        let now: Timestamp = "2026-01-02T05:00:00Z".parse().unwrap();
        let cells = |schedule: Value| {
            let schedule: Schedule = serde_json::from_value(schedule).unwrap();
            schedule.cells(now)
        };
        assert_eq!(
            cells(
                json!({"metadata": {"name": "s"}, "spec": {"schedule": "@daily", "template": {}}})
            ),
            [
                "s", "New", "<nil>", "@daily", "0s", "n/a", "<none>", "false"
            ]
        );
        let full = cells(json!({
            "metadata": {"name": "s"},
            "spec": {"schedule": "0 1 * * *", "paused": true,
                "template": {"ttl": "72h0m0s", "labelSelector": {"matchLabels": {"app": "web"}}}},
            "status": {"phase": "FailedValidation", "lastBackup": "2026-01-02T00:00:00Z"},
        }));
        assert_eq!(
            full[1..],
            [
                "FailedValidation",
                "<nil>",
                "0 1 * * *",
                "72h0m0s",
                "5h ago",
                "app=web",
                "true"
            ]
        );
    }
}
