//! The layers that turn events into lines.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::format::{Line, LogFormat};
use super::{RunLogs, Sink};

/// The field of a span that makes it a run.
const RUN: &str = "run";

/// Writes the events of runs into their log files; all others pass it by.
#[derive(Debug, Clone)]
pub struct RunLogLayer {
    logs: RunLogs,
}

impl RunLogLayer {
    pub(super) fn new(logs: RunLogs) -> Self {
        Self { logs }
    }
}

/// What a span adds to the lines inside it.
struct SpanFields(Vec<(String, String)>);

/// On the span of a run: where its lines go.
struct SpanSink(Arc<Sink>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RunLogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let sink = fields
            .run()
            .and_then(|run| self.logs.find(run))
            .map(SpanSink);
        let mut extensions = span.extensions_mut();
        extensions.replace(SpanFields(fields.into_pairs()));
        if let Some(sink) = sink {
            extensions.replace(sink);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        record(id, values, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(scope) = context.event_scope(event) else {
            return;
        };
        let mut pairs = Vec::new();
        for span in scope {
            let extensions = span.extensions();
            if let Some(SpanFields(fields)) = extensions.get() {
                pairs.extend(fields.iter().cloned());
            }
            if let Some(SpanSink(sink)) = extensions.get() {
                sink.write(&render(event, pairs, self.logs.format()));
                return;
            }
        }
    }
}

/// Writes all events to stderr.
#[derive(Debug)]
pub(super) struct StderrLayer {
    format: LogFormat,
}

impl StderrLayer {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for StderrLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut()
            .replace(SpanFields(fields.into_pairs()));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut pairs = Vec::new();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                pairs.extend(fields.iter().cloned());
            }
        }
        // Nobody is left to be told when stderr is gone.
        let _ = std::io::stderr()
            .lock()
            .write_all(render(event, pairs, self.format).as_bytes());
    }
}

fn record<S: Subscriber + for<'a> LookupSpan<'a>>(
    id: &Id,
    values: &Record<'_>,
    context: &Context<'_, S>,
) {
    let Some(span) = context.span(id) else { return };
    let mut fields = Fields::default();
    values.record(&mut fields);
    if let Some(SpanFields(known)) = span.extensions_mut().get_mut() {
        known.extend(fields.into_pairs());
    }
}

fn render(event: &Event<'_>, outer: Vec<(String, String)>, format: LogFormat) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let message = std::mem::take(&mut fields.message);
    let mut pairs = fields.into_pairs();
    // Fields of the event itself stand before those of its spans, the inner span's before the outer's.
    pairs.extend(outer);
    let mut seen = std::collections::HashSet::new();
    pairs.retain(|(key, _)| seen.insert(key.clone()));
    if let (Some(file), Some(line)) = (event.metadata().file(), event.metadata().line()) {
        pairs.push(("logSource".to_owned(), format!("{file}:{line}")));
    }
    format.render(Line {
        time: Timestamp::now(),
        level: *event.metadata().level(),
        message: &message,
        fields: pairs,
    })
}

/// Collects fields as text.
#[derive(Default)]
struct Fields {
    message: String,
    pairs: Vec<(String, String)>,
}

impl Fields {
    fn run(&self) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == RUN)
            .map(|(_, value)| value.as_str())
    }

    /// The fields; `run = "backup/velero/x"` becomes `backup = "velero/x"`.
    fn into_pairs(self) -> Vec<(String, String)> {
        self.pairs
            .into_iter()
            .map(|(key, value)| match value.split_once('/') {
                Some((kind, name)) if key == RUN => (kind.to_owned(), name.to_owned()),
                _ => (key, value),
            })
            .collect()
    }

    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.pairs.push((field.name().to_owned(), value));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, velero_core::result::chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
