//! Hooks of a backup's spec.

use velero_core::api::{BackupHooks, BackupResourceHook, BackupResourceHookSpec};

use super::text::{Text, join, selector};

/// The hooks, each with what it is for and what it runs.
pub(super) fn hooks(text: &mut Text, hooks: &BackupHooks) {
    if hooks.resources.is_empty() {
        return text.row([&"Hooks:", &"<none>"]);
    }
    text.row([&"Hooks:"]);
    text.row([&"", &"Resources:"]);
    for hook in &hooks.resources {
        text.row([&"", &"", &format!("{}:", hook.name)]);
        let mut body = Text::default();
        one(&mut body, hook);
        text.indented(body, 3);
    }
}

fn one(text: &mut Text, hook: &BackupResourceHookSpec) {
    let taken = |included: &[String], excluded: &[String]| {
        [
            ("Included:", join(included, "*")),
            ("Excluded:", join(excluded, "<none>")),
        ]
    };
    let namespaces = taken(&hook.included_namespaces, &hook.excluded_namespaces);
    text.lists("Namespaces:", &namespaces);
    text.gap();
    let resources = taken(&hook.included_resources, &hook.excluded_resources);
    text.lists("Resources:", &resources);
    text.gap();
    text.row([&"Label selector:", &selector(hook.label_selector.as_ref())]);
    for (heading, commands) in [
        ("Pre Exec Hook:", &hook.pre_hooks),
        ("Post Exec Hook:", &hook.post_hooks),
    ] {
        for BackupResourceHook { exec } in commands {
            let on_error = exec.on_error.as_ref().map(ToString::to_string);
            text.gap();
            text.lists(
                heading,
                &[
                    ("Container:", exec.container.clone()),
                    ("Command:", exec.command.join(" ")),
                    ("On Error:", on_error.unwrap_or_default()),
                    ("Timeout:", exec.timeout.to_string()),
                ],
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hooks_are_told_with_what_they_run() {
        let spec = json!({"resources": [{
            "name": "freeze", "includedNamespaces": ["a", "b"], "excludedResources": ["jobs"],
            "labelSelector": {"matchLabels": {"app": "db"}},
            "pre": [{"exec": {"container": "db", "command": ["fsfreeze", "-f", "/data"], "onError": "Continue", "timeout": "45s"}}],
            "post": [{"exec": {"command": ["fsfreeze", "-u", "/data"]}}],
        }]});
        let spec: BackupHooks = serde_json::from_value(spec).unwrap();
        let mut text = Text::default();
        hooks(&mut text, &spec);
        // Lines of the peer's layout end with the width of their empty cells.
        let rendered: Vec<String> = text
            .render()
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect();
        assert_eq!(
            rendered.join("\n"),
            "\
Hooks:
  Resources:
    freeze:
      Namespaces:
        Included:  a, b
        Excluded:  <none>

      Resources:
        Included:  *
        Excluded:  jobs

      Label selector:  app=db

      Pre Exec Hook:
        Container:  db
        Command:    fsfreeze -f /data
        On Error:   Continue
        Timeout:    45s

      Post Exec Hook:
        Container:
        Command:    fsfreeze -u /data
        On Error:
        Timeout:    0s"
        );
    }
}
