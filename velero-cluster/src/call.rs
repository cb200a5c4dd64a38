//! One call: leave from the limiter, the request, its answer, and repeats where a repeat is safe.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::contact::{NoAnswer, NoAnswerCause};
use crate::error::Source;
use crate::repeat::{MAX_WRITE_FAILURES, Repeat, backoff, is_unclear, may_repeat};
use crate::silence::Silence;
use crate::{AdaptiveLimiter, CallFailure, Error, ErrorKind, Outcome, Permit, Target, status};

/// Longest body of a refusal that is read, in bytes.
const MAX_STATUS_BYTES: usize = 1 << 20;

/// How long after a lost connection the API server may be one that has just started. Such a one refuses what it is going
/// to allow: it knows neither roles nor accounts before it has read them, nor is its admission ready.
const START: Duration = Duration::from_secs(30);

/// How often a write may break its connection, time after time, while the API server answers another call: some bodies
/// make it break off each time.
const MAX_BROKEN_ALONE: u32 = 2;

/// Longest wait for the answer to that other call.
const OTHER_ANSWER: Duration = Duration::from_secs(5);

/// A request that can be sent more than once.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) target: Target,
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) accept: &'static str,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Bytes,
    pub(crate) repeat: Repeat,
    /// Whether its latency says something about the load of the API server.
    pub(crate) comparable: bool,
}

impl Call {
    pub(crate) fn read(target: Target, uri: String) -> Self {
        Self {
            target,
            method: Method::GET,
            uri,
            accept: "application/json",
            content_type: None,
            body: Bytes::new(),
            repeat: Repeat::Free,
            comparable: true,
        }
    }
}

/// Takes the body of a good answer piece by piece.
pub(crate) trait Sink: Send {
    /// What the whole body becomes.
    type Output;
    /// Takes the next piece; an error ends the call for good.
    fn push(&mut self, chunk: &[u8]) -> Result<(), TooBig>;
    /// Ends the body; the text says why it is no good answer.
    fn finish(self) -> Result<Self::Output, String>;
}

/// The body is larger than the caller wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooBig;

/// Collects a body whole.
#[derive(Debug, Default)]
pub(crate) struct Whole(Vec<u8>);

impl Sink for Whole {
    type Output = Bytes;

    fn push(&mut self, chunk: &[u8]) -> Result<(), TooBig> {
        self.0.extend_from_slice(chunk);
        Ok(())
    }

    fn finish(self) -> Result<Bytes, String> {
        Ok(self.0.into())
    }
}

/// How long calls take at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// One try, from the request to the last byte of the answer.
    pub(crate) attempt: Duration,
    /// All tries of one call, and the waits between and before them.
    pub(crate) total: Duration,
    /// The head of an answer, while there has never been one.
    pub(crate) first_answer: Duration,
    /// All tries of one call to a server that cannot be connected to and has never answered.
    pub(crate) refused: Duration,
    /// As `total`, while the server is taken for silent.
    pub(crate) silent: Duration,
}

/// Why a call with a sink ended without output.
#[derive(Debug)]
pub(crate) enum Ended {
    Failed(Error),
    TooBig,
}

impl From<Ended> for Error {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Failed(error) => error,
            Ended::TooBig => Self::Answer {
                target: Target::default(),
                reason: "it is larger than allowed".to_owned(),
            },
        }
    }
}

/// Why a call is not waited for any longer.
enum Over {
    /// It has had all its time, which was this.
    Time(Duration),
    /// Its run was cancelled.
    Cancelled,
}

enum Attempt<T> {
    Done(T),
    TooBig,
    Failed(CallFailure),
}

/// Sends calls for a cluster.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) client: kube::Client,
    pub(crate) limiter: AdaptiveLimiter,
    pub(crate) deadlines: Deadlines,
    /// Whether the server has ever answered.
    reached: Arc<AtomicBool>,
    /// When a connection was lost, or could not be had, the last time; nothing when a good answer has come since.
    lost: Arc<Mutex<Option<Instant>>>,
    pub(crate) silence: Silence,
    /// What ends calls before their time.
    pub(crate) cancel: Option<Cancel>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller")
            .field("limiter", &self.limiter)
            .field("deadlines", &self.deadlines)
            .finish_non_exhaustive()
    }
}

impl Caller {
    pub(crate) fn new(
        client: kube::Client,
        limiter: AdaptiveLimiter,
        deadlines: Deadlines,
    ) -> Self {
        Self {
            client,
            limiter,
            deadlines,
            reached: Arc::default(),
            lost: Arc::default(),
            silence: Silence::new(deadlines.total, deadlines.attempt, deadlines.silent),
            cancel: None,
        }
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Whether a refusal may come from a server that has just started, and is none.
    fn may_be_starting(&self, kind: ErrorKind) -> bool {
        let lost = *self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(kind, ErrorKind::Forbidden | ErrorKind::Unauthorized)
            && self.is_reached()
            && lost.is_some_and(|lost| lost.elapsed() < START)
    }

    fn note_loss(&self, failure: &CallFailure) {
        if failure.kind == ErrorKind::Unreachable {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            *lost = Some(Instant::now());
        }
    }

    /// Notes a good answer to a call: a server that gives one to what was sent after the loss has started.
    fn note_answer(&self, sent: Instant) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.is_some_and(|lost| lost <= sent) {
            *lost = None;
        }
    }

    /// Sends a call and gives the body of its answer.
    pub(crate) async fn whole(&self, call: &Call) -> Result<Bytes, Error> {
        Ok(self.run(call, Whole::default).await?)
    }

    /// Sends a call, again where that is safe and useful, until the deadline.
    pub(crate) async fn run<S: Sink>(
        &self,
        call: &Call,
        sink: impl Fn() -> S + Send,
    ) -> Result<S::Output, Ended> {
        let begun = Instant::now();
        let mut unclear = false;
        let mut failures = 0;
        let mut alone = 0;
        let mut last = None;
        loop {
            if self.cancel.as_ref().is_some_and(Cancel::is_over) {
                return Err(Ended::Failed(cancelled(call, unclear, last).into()));
            }
            let permit = match self.limiter.try_acquire() {
                Some(permit) => Ok(permit),
                None => self.in_time(call, begun, self.limiter.acquire()).await,
            };
            let permit = match permit {
                Ok(permit) => permit,
                Err(Over::Cancelled) => continue,
                Err(Over::Time(had)) => {
                    self.gave_up(begun);
                    let mut failure = self.no_turn(call, had, last);
                    failure.maybe_done = unclear;
                    return Err(Ended::Failed(failure.into()));
                }
            };
            let sent = Instant::now();
            // On the heap: futures that hold this one would be too large for a stack in builds without optimisation.
            let attempt = Box::pin(self.attempt(call, sink(), permit));
            let attempt = match self.in_time(call, begun, attempt).await {
                Ok(attempt) => attempt,
                Err(Over::Cancelled) => {
                    unclear |= call.repeat.is_write();
                    continue;
                }
                Err(Over::Time(had)) => {
                    self.gave_up(begun);
                    Attempt::Failed(self.out_of_time(call, had, last.as_ref()))
                }
            };
            let mut failure = match attempt {
                Attempt::Done(output) => {
                    self.note_answer(sent);
                    return Ok(output);
                }
                Attempt::TooBig => return Err(Ended::TooBig),
                Attempt::Failed(failure) => failure,
            };
            failures += 1;
            self.note_loss(&failure);
            let broken = Box::pin(self.breaks_alone(call, &failure, failures));
            alone += u32::from(self.unless_cancelled(broken).await.unwrap_or(false));
            let wait = failure
                .retry_after
                .unwrap_or_else(|| backoff(failures, &call.uri));
            let again = (may_repeat(call.repeat, failure.kind, failures)
                || self.may_be_starting(failure.kind))
                && alone < MAX_BROKEN_ALONE
                && self.has_time(begun, wait)
                && self.is_worth_a_try(&failure, begun.elapsed() + wait);
            unclear |= is_unclear(failure.kind) && call.repeat.is_write();
            if !again {
                failure.maybe_done = unclear;
                if alone == MAX_BROKEN_ALONE {
                    failure.message += "; the api server answers other calls";
                }
                return Err(Ended::Failed(failure.into()));
            }
            tracing::debug!(target = %call.target, failures, wait_ms = wait.as_millis() as u64, message = %failure.message, "repeating a call");
            last = Some(failure);
            // Whether it was cancelled is what the next turn looks at first.
            let _ = self.unless_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    /// Whether the API server answers, while a write has broken its connection for the third time or more.
    async fn breaks_alone(&self, call: &Call, failure: &CallFailure, failures: u32) -> bool {
        if call.repeat != Repeat::Telling
            || failure.kind != ErrorKind::Unreachable
            || failures < MAX_WRITE_FAILURES
        {
            return false;
        }
        let other = Call::read(Target::default(), "/version".to_owned());
        let answer = tokio::time::timeout(OTHER_ANSWER, self.send(&other, Whole::default()));
        match answer.await {
            // A proxy has answers of its own while the API server is away.
            Ok(Attempt::Failed(failure)) => matches!(failure.code, 401 | 403 | 429),
            Ok(_) => true,
            Err(_) => false,
        }
    }

    /// Does something within the time of a call.
    async fn in_time<T>(
        &self,
        call: &Call,
        begun: Instant,
        work: impl Future<Output = T> + Send,
    ) -> Result<T, Over> {
        let over = async {
            let silence = self.silence.over(begun, &call.target);
            let had = self.unless_cancelled(silence).await;
            had.map_or(Over::Cancelled, Over::Time)
        };
        match select(pin!(work), pin!(over)).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right((over, _)) => Err(over),
        }
    }

    /// Does something; nothing comes of it where the run was cancelled and its calls have had their time since.
    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let Some(cancel) = &self.cancel else {
            return Some(work.await);
        };
        match select(pin!(work), pin!(cancel.over())).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

    /// Whether a call that began at `begun` has time for another try after a wait. None is left: that is noted.
    pub(crate) fn has_time(&self, begun: Instant, wait: Duration) -> bool {
        let enough = Instant::now() + wait < self.silence.deadline(begun);
        if !enough {
            self.gave_up(begun);
        }
        enough
    }

    /// Notes that a call has had all its time. What never answered has deadlines of its own.
    fn gave_up(&self, begun: Instant) {
        if self.is_reached() {
            self.silence.gave_up(begun);
        }
    }

    async fn attempt<S: Sink>(&self, call: &Call, sink: S, permit: Permit) -> Attempt<S::Output> {
        let result = match tokio::time::timeout(self.deadlines.attempt, self.send(call, sink)).await
        {
            Ok(result) => result,
            Err(_) => Attempt::Failed(self.timeout(call, self.deadlines.attempt)),
        };
        permit.finish(match &result {
            Attempt::Done(_) | Attempt::TooBig => Outcome::Answered {
                comparable: call.comparable,
            },
            Attempt::Failed(failure) => outcome(failure),
        });
        result
    }

    async fn send<S: Sink>(&self, call: &Call, sink: S) -> Attempt<S::Output> {
        let request = match request(call) {
            Ok(request) => request,
            Err(error) => {
                let message = "the request cannot be made";
                return Attempt::Failed(broken(call, ErrorKind::Other, message, error));
            }
        };
        let response = match self.head(call, request).await {
            Ok(response) => response,
            Err(failure) => return Attempt::Failed(failure),
        };
        let (parts, mut body) = response.into_parts();
        if !parts.status.is_success() {
            let text = refusal(&mut body).await;
            return Attempt::Failed(status::failure(
                &call.target,
                parts.status,
                &parts.headers,
                &text,
            ));
        }
        self.read(call, body, sink).await
    }

    /// Reads the body of a good answer.
    async fn read<S: Sink>(&self, call: &Call, mut body: Body, mut sink: S) -> Attempt<S::Output> {
        while let Some(frame) = body.frame().await {
            if frame.is_ok() {
                self.silence.heard();
            }
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) if sink.push(&data).is_err() => return Attempt::TooBig,
                Ok(_) => {}
                Err(error) => {
                    return Attempt::Failed(broken(
                        call,
                        ErrorKind::Unreachable,
                        "the answer broke off",
                        error,
                    ));
                }
            }
        }
        match sink.finish() {
            Ok(output) => Attempt::Done(output),
            Err(reason) => {
                let mut failure = broken(
                    call,
                    ErrorKind::Unreachable,
                    "the answer cannot be read",
                    reason,
                );
                failure.code = StatusCode::OK.as_u16();
                Attempt::Failed(failure)
            }
        }
    }

    /// Sends the request and waits for the head of the answer.
    async fn head(
        &self,
        call: &Call,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, CallFailure> {
        let sent = self.client.send(request);
        let answer = if self.is_reached() {
            sent.await
        } else {
            let limit = self.deadlines.first_answer;
            match tokio::time::timeout(limit, sent).await {
                Ok(answer) => answer,
                Err(_) => return Err(self.timeout(call, limit)),
            }
        };
        match answer {
            Ok(response) => {
                self.reached.store(true, Ordering::Relaxed);
                self.silence.heard();
                Ok(response)
            }
            Err(error @ kube::Error::Auth(_)) => Err(broken(
                call,
                ErrorKind::Unauthorized,
                "the credentials cannot be used",
                error,
            )),
            Err(error) => Err(unanswered(call, &error)),
        }
    }

    /// Whether a server that has never answered may still do so. `elapsed` is the time until the next try.
    fn is_worth_a_try(&self, failure: &CallFailure, elapsed: Duration) -> bool {
        self.is_reached()
            || (failure.kind != ErrorKind::Timeout && elapsed < self.deadlines.refused)
    }

    fn timeout(&self, call: &Call, after: Duration) -> CallFailure {
        let message = format!("no answer within {} s", after.as_secs_f64());
        failed(call, ErrorKind::Timeout, message)
    }

    /// The time of a call is over while a try is under way; what came of the one before it is told.
    fn out_of_time(&self, call: &Call, had: Duration, last: Option<&CallFailure>) -> CallFailure {
        let mut failure = self.timeout(call, had);
        if let Some(last) = last {
            failure.message = format!("{}; the try before: {}", failure.message, last.message);
            failure.retry_after = last.retry_after;
        }
        self.add_note(&mut failure);
        failure
    }

    /// The time of a call is over and the limiter has given no leave for another try: what came of the last one counts.
    fn no_turn(&self, call: &Call, had: Duration, last: Option<CallFailure>) -> CallFailure {
        let seconds = had.as_secs_f64();
        let mut failure = match last {
            Some(mut last) => {
                last.message = format!(
                    "{}; no turn for another try within {seconds} s",
                    last.message
                );
                last
            }
            None => {
                let mut failure = self.timeout(call, had);
                failure.message = format!("no turn for the call within {seconds} s");
                if self.limiter.stats().held_for.is_some() {
                    failure.kind = ErrorKind::TooManyRequests;
                    failure.message +=
                        ": the api server answers others with too many requests and a time to wait";
                }
                failure
            }
        };
        self.add_note(&mut failure);
        failure
    }

    /// Tells of a silence that cut the time of the call.
    fn add_note(&self, failure: &mut CallFailure) {
        if let Some(note) = self.silence.note() {
            failure.message = format!("{}; {note}", failure.message);
        }
    }
}

/// A call of a run that was cancelled. `maybe_done` says that a try of it was under way, or got no clear answer.
fn cancelled(call: &Call, maybe_done: bool, last: Option<CallFailure>) -> CallFailure {
    let mut message = match maybe_done {
        true => "cancelled before an answer came; it may have been carried out".to_owned(),
        false => "cancelled".to_owned(),
    };
    if let Some(last) = last {
        message += "; the try before: ";
        message += &last.message;
    }
    CallFailure {
        maybe_done,
        ..failed(call, ErrorKind::Cancelled, message)
    }
}

fn request(call: &Call) -> http::Result<http::Request<Body>> {
    let mut request = http::Request::builder()
        .method(call.method.clone())
        .uri(&call.uri)
        .header(header::ACCEPT, call.accept);
    if let Some(content_type) = call.content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request.body(Body::from(call.body.clone()))
}

async fn refusal(body: &mut Body) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
        if text.len() > MAX_STATUS_BYTES {
            break;
        }
    }
    text
}

fn unanswered(call: &Call, error: &kube::Error) -> CallFailure {
    let found = NoAnswer::find(error)
        .cloned()
        .unwrap_or_else(|| NoAnswer::diagnose("", error));
    let kind = match found.cause {
        NoAnswerCause::Untrusted => ErrorKind::Untrusted,
        NoAnswerCause::Silent => ErrorKind::Timeout,
        NoAnswerCause::Refused | NoAnswerCause::Other => ErrorKind::Unreachable,
    };
    broken(call, kind, &found.to_string(), found)
}

fn broken(call: &Call, kind: ErrorKind, message: &str, source: impl Into<Source>) -> CallFailure {
    CallFailure {
        source: Some(source.into()),
        ..failed(call, kind, message.to_owned())
    }
}

/// A call that got no answer of the API server's.
fn failed(call: &Call, kind: ErrorKind, message: String) -> CallFailure {
    CallFailure {
        kind,
        target: call.target.clone(),
        code: 0,
        message,
        retry_after: None,
        maybe_done: false,
        continue_token: None,
        source: None,
    }
}

fn outcome(failure: &CallFailure) -> Outcome {
    match failure.kind {
        ErrorKind::TooManyRequests => Outcome::Throttled {
            retry_after: failure.retry_after,
        },
        ErrorKind::Unavailable if failure.retry_after.is_some() => Outcome::Throttled {
            retry_after: failure.retry_after,
        },
        ErrorKind::Unavailable | ErrorKind::Unreachable | ErrorKind::Timeout => Outcome::Failed,
        _ => Outcome::Answered { comparable: false },
    }
}
