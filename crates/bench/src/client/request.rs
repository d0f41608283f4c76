//! One S3 request: its headers, its payload in one of S3's forms, its signature.

use super::{Answer, Connection, EMPTY_SHA256, Signer, Want};
use crate::body::Body;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, io, io::IoSlice, time::SystemTime};
use tresor_digest::{Hasher, Sha256, md5, sha256};
use tresor_model::ChecksumAlgorithm;

/// How the body of a write is signed and framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// UNSIGNED-PAYLOAD.
    Unsigned,
    /// The body's SHA-256, computed before sending.
    Signed,
    /// STREAMING-AWS4-HMAC-SHA256-PAYLOAD: aws-chunked, every chunk signed.
    Chunked,
    /// STREAMING-UNSIGNED-PAYLOAD-TRAILER: aws-chunked, CRC64NVME behind the body.
    Trailer,
    /// STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER: both.
    SignedTrailer,
}

const CHUNK: u64 = 64 << 10;
/// SDKs send chunks that they do not sign in larger pieces.
const UNSIGNED_CHUNK: u64 = 1 << 20;
const TRAILER: &str = "x-amz-checksum-crc64nvme";

/// The body of a write: a range of an object's content.
#[derive(Clone, Copy)]
pub(crate) struct Upload<'a> {
    pub body: &'a Body,
    pub from: u64,
    pub to: u64,
    pub payload: Payload,
}

/// A request before it is signed. `path` and `query` are encoded, `query` in the order of its names.
pub(crate) struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub upload: Option<Upload<'a>>,
    /// A body that is no object's: an XML document.
    pub document: &'a [u8],
}

impl Request<'_> {
    pub(crate) fn send(
        &self,
        connection: &mut Connection,
        signer: &mut Signer,
        host: &str,
        want: Want<'_>,
    ) -> io::Result<Answer> {
        let payload = self.payload_hash();
        let decoded = self.upload.map(|upload| (upload.to - upload.from).to_string()).unwrap_or_default();
        let chunked = self.upload.filter(|upload| !matches!(upload.payload, Payload::Unsigned | Payload::Signed));
        let mut headers: Vec<(&str, &str)> = Vec::with_capacity(12);
        headers.extend([("host", host), ("x-amz-content-sha256", &payload)]);
        headers.extend_from_slice(self.headers);
        if let Some(upload) = chunked {
            headers.extend([("content-encoding", "aws-chunked"), ("x-amz-decoded-content-length", &decoded)]);
            headers.extend(upload.payload.has_trailer().then_some(("x-amz-trailer", TRAILER)));
        }
        headers.sort_unstable_by_key(|(name, _)| *name);
        let signature = signer.sign(SystemTime::now(), self.method, self.path, self.query, &headers, &payload);

        let frames = chunked.map(|upload| Frames::of(upload, signer, &signature.date, &signature.hex));
        let length = match (&frames, self.upload) {
            (Some(frames), _) => frames.length,
            (None, Some(upload)) => upload.to - upload.from,
            (None, None) => self.document.len() as u64,
        };
        let mut head = String::with_capacity(1024);
        head.extend([
            self.method,
            " ",
            self.path,
            if self.query.is_empty() { "" } else { "?" },
            self.query,
            " HTTP/1.1\r\n",
        ]);
        for (name, value) in &headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.extend(["x-amz-date: ", &signature.date, "\r\nauthorization: ", &signature.authorization]);
        if matches!(self.method, "PUT" | "POST") {
            let _ = write!(head, "\r\ncontent-length: {length}");
        }
        head.push_str("\r\n\r\n");

        let mut pieces = vec![IoSlice::new(head.as_bytes())];
        match (&frames, self.upload) {
            (Some(frames), Some(Upload { body, .. })) => {
                for (line, from, to) in &frames.all {
                    pieces.push(IoSlice::new(line.as_bytes()));
                    body.slices(*from, *to, |slice| pieces.push(IoSlice::new(slice)));
                }
            }
            (None, Some(Upload { body, from, to, .. })) => {
                body.slices(from, to, |slice| pieces.push(IoSlice::new(slice)));
            }
            _ if self.document.is_empty() => {}
            _ => pieces.push(IoSlice::new(self.document)),
        }
        connection.call(&pieces, self.method == "HEAD", want)
    }

    /// The value of `x-amz-content-sha256`.
    fn payload_hash(&self) -> String {
        match self.upload {
            Some(upload) => match upload.payload {
                Payload::Unsigned => "UNSIGNED-PAYLOAD".into(),
                Payload::Signed => upload.sha256(upload.from, upload.to),
                Payload::Chunked => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".into(),
                Payload::Trailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into(),
                Payload::SignedTrailer => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".into(),
            },
            None if self.document.is_empty() => EMPTY_SHA256.into(),
            None => hex::encode(sha256(self.document)),
        }
    }
}

impl Payload {
    fn has_trailer(self) -> bool {
        matches!(self, Self::Trailer | Self::SignedTrailer)
    }
}

impl Upload<'_> {
    fn sha256(&self, from: u64, to: u64) -> String {
        let mut hash = Sha256::new();
        self.body.slices(from, to, |slice| hash.update(slice));
        hex::encode(hash.finish())
    }

    fn crc64nvme(&self) -> String {
        let mut hash = Hasher::new(ChecksumAlgorithm::Crc64Nvme);
        self.body.slices(self.from, self.to, |slice| hash.update(slice));
        BASE64_STANDARD.encode(hash.finish())
    }
}

/// The framing of aws-chunked: what stands before each stretch of the body, and at its end. The body itself is not copied.
struct Frames {
    all: Vec<(String, u64, u64)>,
    /// Bytes on the wire.
    length: u64,
}

impl Frames {
    fn of(upload: Upload<'_>, signer: &Signer, date: &str, seed: &str) -> Self {
        let is_signed = upload.payload != Payload::Trailer;
        let chunk = if is_signed { CHUNK } else { UNSIGNED_CHUNK };
        let mut frames = Self { all: Vec::new(), length: 0 };
        let (mut from, mut previous) = (upload.from, seed.to_owned());
        loop {
            let to = upload.to.min(from + chunk);
            let mut line = String::with_capacity(128);
            if !frames.all.is_empty() {
                line.push_str("\r\n");
            }
            let _ = write!(line, "{:x}", to - from);
            if is_signed {
                previous = signer.chunk(date, &previous, &upload.sha256(from, to));
                line.extend([";chunk-signature=", &previous]);
            }
            line.push_str("\r\n");
            let is_last = from == to;
            if is_last {
                if upload.payload.has_trailer() {
                    let checksum = upload.crc64nvme();
                    line.extend([TRAILER, ":", &checksum, "\r\n"]);
                    if is_signed {
                        let hash = hex::encode(sha256(format!("{TRAILER}:{checksum}\n").as_bytes()));
                        line.extend(["x-amz-trailer-signature:", &signer.trailer(date, &previous, &hash), "\r\n"]);
                    }
                }
                line.push_str("\r\n");
            }
            frames.length += line.len() as u64 + (to - from);
            frames.all.push((line, from, to));
            if is_last {
                return frames;
            }
            from = to;
        }
    }
}

/// The customer key that SSE-C is measured with: it protects nothing.
pub(crate) fn customer_key_headers() -> [(&'static str, String); 3] {
    let key = [0x5a; 32];
    [
        ("x-amz-server-side-encryption-customer-algorithm", "AES256".into()),
        ("x-amz-server-side-encryption-customer-key", BASE64_STANDARD.encode(key)),
        ("x-amz-server-side-encryption-customer-key-md5", BASE64_STANDARD.encode(md5(&key))),
    ]
}

/// Percent-encoded as SigV4's canonical query is: everything but the unreserved characters of RFC 3986.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
