//! A transport for tests that answers by what stands in the URL.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter};

use crate::s3_transport::one_piece;

/// Answers for URLs that hold a text, and what was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeHttp {
    answers: Vec<(&'static str, &'static str)>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeHttp {
    pub(crate) fn new(answers: &[(&'static str, &'static str)]) -> Self {
        Self {
            answers: answers.to_vec(),
            asked: Arc::default(),
        }
    }

    pub(crate) fn transporter(&self) -> HttpTransporter {
        HttpTransporter::new(self.clone())
    }

    /// Method, URL, authorization and body of each request.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl HttpTransport for FakeHttp {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let url = request.uri().to_string();
        let authorization = request.headers().get("authorization");
        let authorization = authorization.map_or("", |value| value.to_str().unwrap());
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        let line = format!("{} {url} {authorization} {body}", request.method());
        self.asked.lock().unwrap().push(line);
        let mut answers = self.answers.iter();
        let (_, answer) = answers.find(|(mark, _)| url.contains(mark)).unwrap();
        Ok(Response::new(one_piece((*answer).into())))
    }
}
