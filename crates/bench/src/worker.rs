//! One client: a connection, what it does with it, and what it saw.

use crate::{
    body::{Body, next_random},
    case::{Case, Encryption, Operation},
    client::{Answer, Connection, Request, Signer, Upload, Want, customer_key_headers, encoded},
    targets::Target,
};
use hdrhistogram::Histogram;
use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// How much of what is read is compared with what was written. The length always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// Every byte of every read.
    All,
    /// Every byte of one read in sixteen: comparing costs time that a rate then lacks.
    Sample,
    None,
}

const SAMPLE: u64 = 16;
/// What went wrong is told so many times a client.
const MAX_SAMPLES: usize = 3;
const MAX_SAMPLE_CHARS: usize = 300;
/// A client that got nothing but so many errors stops: a server that refuses everything is not hammered.
const GIVE_UP: u64 = 50;
/// Objects that a mixed run made and may delete again.
const MAX_OWN: usize = 4096;
/// Where the numbers of a mixed run's own objects begin, far from those that were there before.
const OWN_NUMBERS: u64 = 1 << 32;
/// Nanoseconds of a request that takes longer than all patience.
const LONGEST: u64 = 3_600_000_000_000;

/// What a round's clients share.
pub(crate) struct Course<'a> {
    pub target: &'a Target,
    pub case: &'a Case,
    /// Of the keys that are written, or that are there to be read.
    pub prefix: &'a str,
    pub verify: Verify,
    /// The next number to write, or to delete.
    pub next: AtomicU64,
    /// How many requests at most; 0 is no limit.
    pub requests: u64,
}

impl<'a> Course<'a> {
    pub(crate) fn new(target: &'a Target, case: &'a Case, prefix: &'a str) -> Self {
        Self { target, case, prefix, verify: Verify::All, next: AtomicU64::new(0), requests: 0 }
    }

    fn path(&self, number: u64) -> String {
        format!("/{}/{}{number:08}", self.target.bucket, self.prefix)
    }
}

/// What was counted.
pub(crate) struct Counts {
    /// Nanoseconds of each request that succeeded.
    pub latency: Histogram<u64>,
    pub bytes: u64,
    pub keys: u64,
    pub errors: u64,
    /// Reads whose content was not what was written.
    pub wrong: u64,
    pub verified: u64,
    pub samples: Vec<String>,
}

impl Default for Counts {
    fn default() -> Self {
        // One nanosecond to an hour in three digits: sound arguments.
        let latency =
            Histogram::new_with_max(LONGEST, 3).expect("the bounds and digits are those that HDR histograms take");
        Self { latency, bytes: 0, keys: 0, errors: 0, wrong: 0, verified: 0, samples: Vec::new() }
    }
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
        self.bytes += other.bytes;
        self.keys += other.keys;
        self.errors += other.errors;
        self.wrong += other.wrong;
        self.verified += other.verified;
        for sample in other.samples {
            self.sample(sample);
        }
    }

    pub(crate) fn fail(&mut self, what: &str) {
        self.errors += 1;
        self.sample(what.chars().take(MAX_SAMPLE_CHARS).collect());
    }

    fn sample(&mut self, what: String) {
        if self.samples.len() < MAX_SAMPLES && !self.samples.contains(&what) {
            self.samples.push(what);
        }
    }
}

pub(crate) struct Worker<'a> {
    course: &'a Course<'a>,
    connection: Connection,
    signer: Signer,
    write_headers: Vec<(&'static str, String)>,
    read_headers: Vec<(&'static str, String)>,
    random: u64,
    reads: u64,
    /// Numbers of objects that a mixed run made.
    own: Vec<u64>,
    /// Where the next LIST goes on.
    token: Option<String>,
    /// Keys that this pass over the list has shown.
    listed: u64,
    pub counts: Counts,
}

/// The headers that ask for an encryption, of a write and of a read.
pub(crate) type Headers = Vec<(&'static str, String)>;

pub(crate) fn encryption_headers(encryption: Encryption, kms_key: Option<&str>) -> (Headers, Headers) {
    const SSE: &str = "x-amz-server-side-encryption";
    let kms = |algorithm: &str| {
        let mut headers: Headers = vec![(SSE, algorithm.into())];
        headers.extend(kms_key.map(|key| ("x-amz-server-side-encryption-aws-kms-key-id", key.to_owned())));
        headers
    };
    let write = match encryption {
        Encryption::None => Vec::new(),
        Encryption::S3 => vec![(SSE, "AES256".into())],
        Encryption::Kms => kms("aws:kms"),
        Encryption::Dsse => kms("aws:kms:dsse"),
        Encryption::KmsBucketKey => {
            let mut headers = kms("aws:kms");
            headers.push(("x-amz-server-side-encryption-bucket-key-enabled", "true".into()));
            headers
        }
        Encryption::C => return (customer_key_headers().into(), customer_key_headers().into()),
    };
    (write, Vec::new())
}

fn borrowed<'h>(headers: &'h [(&'static str, String)]) -> Vec<(&'h str, &'h str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

impl<'a> Worker<'a> {
    pub(crate) fn new(course: &'a Course<'a>, number: usize) -> Self {
        let (write_headers, read_headers) =
            encryption_headers(course.case.encryption, course.target.kms_key.as_deref());
        Self {
            course,
            connection: Connection::new(course.target.endpoint.clone()),
            signer: Signer::new(course.target.credentials.clone()),
            write_headers,
            read_headers,
            random: number as u64,
            reads: number as u64,
            own: Vec::new(),
            token: None,
            listed: 0,
            counts: Counts::default(),
        }
    }

    /// One request of the case; false when nothing is left to do. Warming up takes no part of the requests that are asked for.
    pub(crate) fn step(&mut self, warming_up: bool) -> bool {
        if self.counts.errors >= GIVE_UP && self.counts.latency.is_empty() {
            return false;
        }
        let course = self.course;
        let objects = course.case.objects.max(1);
        let operation = course.case.operation;
        let numbered = matches!(operation, Operation::Put | Operation::Delete | Operation::Mixed);
        let limited = course.requests > 0 && !warming_up;
        let number = if numbered || limited { course.next.fetch_add(1, Ordering::Relaxed) } else { 0 };
        if limited && number >= course.requests || operation == Operation::Delete && number >= objects {
            return false;
        }
        match operation {
            Operation::Put => {
                self.put(number);
            }
            Operation::Get => {
                let number = self.any(objects);
                self.get(number, None);
            }
            Operation::Head => {
                let number = self.any(objects);
                self.head(number);
            }
            Operation::Range => self.range(),
            Operation::Delete => self.delete(number),
            Operation::List => self.list(),
            Operation::Mixed => self.mixed(number),
            // Whole uploads are driven from outside.
            Operation::Multipart => return false,
        }
        true
    }

    pub(crate) fn call(&mut self, request: &Request<'_>, want: Want<'_>) -> io::Result<Answer> {
        request.send(&mut self.connection, &mut self.signer, &self.course.target.endpoint.host, want)
    }

    /// Counts an answer, or what went wrong; the answer if it is a success.
    fn count(&mut self, what: &str, begun: Instant, bytes: u64, answer: io::Result<Answer>) -> Option<Answer> {
        match answer {
            Ok(answer) if answer.is_success() => {
                let nanoseconds = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(LONGEST).clamp(1, LONGEST);
                self.counts.latency.saturating_record(nanoseconds);
                self.counts.bytes += bytes;
                Some(answer)
            }
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer.text).replace('\n', " ");
                self.counts.fail(&format!("{what}: HTTP {} {text}", answer.status));
                None
            }
            Err(error) => {
                self.counts.fail(&format!("{what}: {error}"));
                None
            }
        }
    }

    pub(crate) fn put(&mut self, number: u64) -> bool {
        let Case { size, payload, .. } = *self.course.case;
        let body = Body::of(self.course.prefix, number, size);
        self.write("PUT", &self.course.path(number), "", Upload { body: &body, from: 0, to: size, payload }, true)
            .is_some()
    }

    /// Sends a part of an upload; its ETag.
    pub(crate) fn put_part(&mut self, path: &str, query: &str, upload: Upload<'_>) -> Option<String> {
        // A part names the customer key, and no other encryption.
        self.write("PART", path, query, upload, false).map(|answer| answer.etag)
    }

    fn write(&mut self, what: &str, path: &str, query: &str, upload: Upload<'_>, is_object: bool) -> Option<Answer> {
        let headers = if is_object { &self.write_headers } else { &self.read_headers }.clone();
        let headers = borrowed(&headers);
        let bytes = upload.to - upload.from;
        let request = Request { method: "PUT", path, query, headers: &headers, upload: Some(upload), document: b"" };
        let begun = Instant::now();
        let answer = self.call(&request, Want::Count);
        self.count(what, begun, bytes, answer)
    }

    /// POST with an XML document: the two ends of a multipart upload. Not counted; an error says what went wrong.
    pub(crate) fn post(&mut self, path: &str, query: &str, document: &[u8], is_object: bool) -> Result<String, String> {
        let headers = if is_object { &self.write_headers } else { &self.read_headers }.clone();
        let headers = borrowed(&headers);
        let request = Request { method: "POST", path, query, headers: &headers, upload: None, document };
        let answer = self.call(&request, Want::Text).map_err(|error| format!("POST {path}: {error}"))?;
        let text = String::from_utf8_lossy(&answer.text).into_owned();
        // CompleteMultipartUpload may fail after it has answered 200.
        match answer.is_success() && !text.contains("<Error>") {
            true => Ok(text),
            false => Err(format!("POST {path}: HTTP {} {text}", answer.status)),
        }
    }

    /// Gives an upload up. Nothing more can be done when that fails too.
    pub(crate) fn abort(&mut self, path: &str, query: &str) {
        let _ = self
            .call(&Request { method: "DELETE", path, query, headers: &[], upload: None, document: b"" }, Want::Count);
    }

    fn range(&mut self) {
        let Case { size, range, objects, .. } = *self.course.case;
        let number = self.any(objects);
        // Ranges begin where a client that keeps blocks would ask.
        let from = self.any(size.saturating_sub(range) / 4096 + 1) * 4096;
        self.get(number, Some((from, range.min(size - from))));
    }

    /// Below `bound`.
    fn any(&mut self, bound: u64) -> u64 {
        next_random(&mut self.random) % bound.max(1)
    }

    pub(crate) fn get(&mut self, number: u64, range: Option<(u64, u64)>) {
        let course = self.course;
        let path = course.path(number);
        let size = course.case.size;
        let (from, length) = range.unwrap_or((0, size));
        let asked = format!("bytes={from}-{}", (from + length).saturating_sub(1));
        let headers = self.read_headers.clone();
        let mut headers = borrowed(&headers);
        headers.extend(range.map(|_| ("range", asked.as_str())));
        let request = Request { method: "GET", path: &path, query: "", headers: &headers, upload: None, document: b"" };
        self.reads += 1;
        let compares = match course.verify {
            Verify::All => true,
            Verify::Sample => self.reads.is_multiple_of(SAMPLE),
            Verify::None => false,
        };
        let begun = Instant::now();
        let answer = if compares {
            let body = Body::of(course.prefix, number, size);
            let mut at = from;
            self.call(
                &request,
                Want::Check(&mut |piece| {
                    at += piece.len() as u64;
                    body.matches(at - piece.len() as u64, piece)
                }),
            )
        } else {
            self.call(&request, Want::Count)
        };
        let received = answer.as_ref().map_or(0, |answer| answer.received);
        let Some(answer) = self.count("GET", begun, received, answer) else { return };
        self.counts.verified += u64::from(compares);
        if answer.wrong || answer.received != length {
            let how = if answer.wrong { "other bytes than were written" } else { "another length than was asked for" };
            self.found_wrong(&format!("GET {path}: {how} ({} of {length}, HTTP {})", answer.received, answer.status));
        }
    }

    fn found_wrong(&mut self, what: &str) {
        self.counts.wrong += 1;
        self.counts.sample(what.to_owned());
    }

    fn head(&mut self, number: u64) {
        let path = self.course.path(number);
        if let Some(declared) = self.declared_length(&path)
            && declared != Some(self.course.case.size)
        {
            self.found_wrong(&format!("HEAD {path}: {declared:?} bytes are said to be there"));
        }
    }

    /// HEAD: the length that an object is said to have, if it is there.
    pub(crate) fn declared_length(&mut self, path: &str) -> Option<Option<u64>> {
        let headers = self.read_headers.clone();
        let headers = borrowed(&headers);
        let request = Request { method: "HEAD", path, query: "", headers: &headers, upload: None, document: b"" };
        let begun = Instant::now();
        let answer = self.call(&request, Want::Count);
        self.count("HEAD", begun, 0, answer).map(|answer| answer.declared)
    }

    fn delete(&mut self, number: u64) {
        let path = self.course.path(number);
        self.delete_path(&path);
    }

    pub(crate) fn delete_path(&mut self, path: &str) {
        let request = Request { method: "DELETE", path, query: "", headers: &[], upload: None, document: b"" };
        let begun = Instant::now();
        let answer = self.call(&request, Want::Count);
        self.count("DELETE", begun, 0, answer);
    }

    fn list(&mut self) {
        let Case { page, objects, .. } = *self.course.case;
        let before = self.token.clone();
        let Some((keys, token)) = self.page(self.course.prefix, before.as_deref(), page) else { return };
        self.listed += keys.len() as u64;
        if token.is_some() && keys.len() as u64 != u64::from(page) {
            self.found_wrong(&format!("LIST: {} keys on a page of {page} that is not the last", keys.len()));
        }
        if token.is_none() {
            let listed = std::mem::take(&mut self.listed);
            if listed != objects {
                self.found_wrong(&format!("LIST: {listed} keys of {objects}"));
            }
        }
        self.counts.keys += keys.len() as u64;
        self.token = token;
    }

    /// One page of keys, and the token of the next one.
    pub(crate) fn page(
        &mut self,
        prefix: &str,
        token: Option<&str>,
        keys: u32,
    ) -> Option<(Vec<String>, Option<String>)> {
        let path = format!("/{}", self.course.target.bucket);
        let token = token.map(|token| format!("continuation-token={}&", encoded(token))).unwrap_or_default();
        let query = format!("{token}list-type=2&max-keys={keys}&prefix={}", encoded(prefix));
        let request = Request { method: "GET", path: &path, query: &query, headers: &[], upload: None, document: b"" };
        let begun = Instant::now();
        let answer = self.call(&request, Want::Text);
        let received = answer.as_ref().map_or(0, |answer| answer.received);
        let answer = self.count("LIST", begun, received, answer)?;
        let text = String::from_utf8_lossy(&answer.text);
        let keys = elements(&text, "Key").into_iter().map(unescaped).collect();
        let next = elements(&text, "NextContinuationToken").first().map(|token| unescaped(token));
        Some((keys, next))
    }

    fn mixed(&mut self, number: u64) {
        let object = self.any(self.course.case.objects);
        match self.any(100) {
            0..70 => self.get(object, None),
            70..80 => self.head(object),
            80..95 => {
                let number = OWN_NUMBERS + number;
                if self.put(number) && self.own.len() < MAX_OWN {
                    self.own.push(number);
                }
            }
            _ => match self.own.pop() {
                Some(number) => self.delete(number),
                None => self.head(object),
            },
        }
    }
}

/// The texts of all elements of a name, in order. The answers of S3's lists nest no element in one of its own name.
pub(crate) fn elements<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    text.split(open.as_str())
        .skip(1)
        .filter_map(|rest| rest.split_once(close.as_str()))
        .map(|(found, _)| found)
        .collect()
}

fn unescaped(text: &str) -> String {
    let pairs = [
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    pairs.iter().fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}
