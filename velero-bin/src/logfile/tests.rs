use super::format::Line;
use super::*;
use tracing::Level;

fn unpack(file: LogFile) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    text
}

/// Cuts the parts that change from run to run: time and source line.
fn stable(line: &str) -> String {
    let words = line
        .split(' ')
        .filter(|word| !word.starts_with("time=") && !word.starts_with("logSource="));
    words
        .collect::<Vec<_>>()
        .join(" ")
        .replacen("level=", "", 1)
}

#[test]
fn text_lines_have_the_form_of_the_peer() {
    let time = "2026-11-22T05:49:12.5Z".parse().unwrap();
    let line = |message, fields: &[(&str, &str)]| {
        let fields = fields
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        LogFormat::Text.render(Line {
            time,
            level: Level::WARN,
            message,
            fields,
        })
    };
    assert_eq!(
        line("Setting up", &[("name", "a-1"), ("backup", "velero/demo")]),
        "time=\"2026-11-22T05:49:12Z\" level=warning msg=\"Setting up\" backup=velero/demo name=a-1\n"
    );
    assert_eq!(
        line("one\"two\n", &[("e", "a b"), ("f", "")]),
        "time=\"2026-11-22T05:49:12Z\" level=warning msg=\"one\\\"two\\n\" e=\"a b\" f=\n"
    );
}

#[test]
fn json_lines_are_objects() {
    let time = "2026-11-22T05:49:12Z".parse().unwrap();
    let fields = vec![("backup".to_owned(), "velero/demo".to_owned())];
    assert_eq!(
        LogFormat::Json.render(Line {
            time,
            level: Level::INFO,
            message: "a \"b\"",
            fields
        }),
        "{\"backup\":\"velero/demo\",\"level\":\"info\",\"msg\":\"a \\\"b\\\"\",\"time\":\"2026-11-22T05:49:12Z\"}\n"
    );
}

#[test]
fn events_go_to_the_run_they_happen_in() {
    let logs = RunLogs::new(LogFormat::Text);
    let subscriber = tracing_subscriber::registry().with(logs.layer());
    tracing::subscriber::with_default(subscriber, || {
        let first = logs.begin("backup", "velero/one");
        let second = logs.begin("restore", "velero/two");
        tracing::info!("outside of all");
        first.span().in_scope(|| {
            tracing::info!(namespace = "shop", count = 3, "Listed");
            let inner = tracing::info_span!("item", name = "web");
            inner.in_scope(|| tracing::error!("denied"));
        });
        second.span().in_scope(|| tracing::warn!("other"));
        let text = unpack(first.finish().unwrap());
        let lines: Vec<String> = text.lines().map(stable).collect();
        assert_eq!(
            lines,
            [
                "info msg=Listed backup=velero/one count=3 namespace=shop",
                "error msg=denied backup=velero/one name=web"
            ]
        );
        let text = unpack(second.finish().unwrap());
        assert_eq!(
            text.lines().map(stable).collect::<Vec<_>>(),
            ["warning msg=other restore=velero/two"]
        );
    });
}

#[test]
fn threads_of_a_run_write_into_one_file_and_the_registry_is_emptied() {
    let logs = RunLogs::new(LogFormat::Text);
    let subscriber = Arc::new(tracing_subscriber::registry().with(logs.layer()));
    let log = tracing::subscriber::with_default(Arc::clone(&subscriber), || {
        logs.begin("backup", "velero/one")
    });
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (span, subscriber) = (log.span().clone(), Arc::clone(&subscriber));
            scope.spawn(move || {
                tracing::subscriber::with_default(subscriber, || {
                    span.in_scope(|| {
                        (0..5000)
                            .for_each(|n| tracing::info!(thread, n, "some text of a line in a log"))
                    });
                });
            });
        }
    });
    assert_eq!(unpack(log.finish().unwrap()).lines().count(), 20_000);
    assert!(logs.lock().is_empty());
    drop(logs.begin("backup", "velero/gone"));
    assert!(logs.lock().is_empty());
}

#[test]
fn logs_of_one_run_that_begin_at_once_have_their_own_lines() {
    let logs = RunLogs::new(LogFormat::Text);
    let subscriber = tracing_subscriber::registry().with(logs.layer());
    let dispatch = tracing::Dispatch::new(subscriber);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (logs, dispatch) = (&logs, &dispatch);
            scope.spawn(move || {
                tracing::dispatcher::with_default(dispatch, || {
                    for round in 0..500 {
                        let log = logs.begin("backup", "velero/same");
                        let line = format!("line-{thread}-{round}");
                        log.span().in_scope(|| tracing::info!("{line}"));
                        let text = unpack(log.finish().unwrap());
                        let lines: Vec<_> = text.lines().map(stable).collect();
                        assert_eq!(lines, [format!("info msg={line} backup=velero/same")]);
                    }
                });
            });
        }
    });
    assert!(logs.lock().is_empty());
}

/// One of them prints credential providers with the tokens in them.
#[test]
fn libraries_that_handle_credentials_are_silent() {
    let levels = own_levels(LevelFilter::DEBUG);
    assert!(levels.would_enable("kube_client::client", &tracing::Level::WARN));
    assert!(!levels.would_enable("reqsign_core::api", &tracing::Level::ERROR));
    assert!(
        SECRETIVE_OFF
            .parse::<tracing_subscriber::filter::Directive>()
            .is_ok()
    );
}
