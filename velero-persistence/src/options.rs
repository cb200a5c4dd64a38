//! Deadlines, retries and sizes of a store.

use std::time::Duration;

/// How patiently, and in what pieces, a store is used.
///
/// With the defaults a closed port is reported after about two seconds, and a store that accepts connections and never
/// answers after fifteen, without a second try; refused credentials and missing buckets are never tried again.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Longest wait for a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// Longest wait for the first answer of a store, and at most nine tenths of the two timeouts below. Default 15 s.
    ///
    /// Requests with a body above 64 KiB are not bound by it: sending one takes its time.
    pub first_answer_timeout: Duration,
    /// Longest wait of a request, which is not tried again, once an operation has given up because the store was silent.
    /// Default 10 s, and a second more for each MiB that is sent. Any answer gives the usual times back.
    pub silent_timeout: Duration,
    /// Longest wait for one request without a body of ours: existence, signing. Default 20 s.
    pub request_timeout: Duration,
    /// Longest wait for one piece of a transfer: an upload part, the next bytes of a download. Default 60 s.
    ///
    /// For a page of a listing it bounds all tries together, and half of it each.
    pub io_timeout: Duration,
    /// How often a temporary failure is tried again. Default 3.
    pub max_retries: usize,
    /// Pause before the first retry, doubled for each further one up to five seconds. Default 250 ms.
    pub retry_pause: Duration,
    /// Bytes of one part of a streaming upload, at least 5 MiB. Default 8 MiB.
    ///
    /// S3 takes 10,000 parts, so 8 MiB allows objects of 78 GiB. Parts go one after the other: that outruns any archive that
    /// is compressed on the way, and an upload that is given up has no part in flight that could survive it.
    pub part_size: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            first_answer_timeout: Duration::from_secs(15),
            silent_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(20),
            io_timeout: Duration::from_secs(60),
            max_retries: 3,
            retry_pause: Duration::from_millis(250),
            part_size: 8 << 20,
        }
    }
}
