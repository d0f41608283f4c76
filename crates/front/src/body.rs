//! A request's body: decoded, and held against the payload hash and the chunk signatures while it streams.

use crate::chunked::ChunkDecoder;
use bytes::Bytes;
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use std::{fmt, time::Duration};
use tresor_digest::Sha256;

/// How long a body may stand still.
const IDLE: Duration = Duration::from_secs(60);
/// SHA-256 of nothing, as signatures write it.
pub(crate) const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// The same as bytes.
const EMPTY: [u8; 32] = match hex::const_decode_to_array(EMPTY_SHA256.as_bytes()) {
    Ok(bytes) => bytes,
    Err(_) => panic!("64 digits"),
};

/// How a body fails its promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    #[error("the body is shorter or longer than announced")]
    Incomplete,
    #[error("the connection broke")]
    Disconnected,
    #[error("the payload hash does not match")]
    Sha256Mismatch,
    #[error("a chunk's signature does not match")]
    ChunkSignature,
    #[error("the body stood still for too long")]
    Timeout,
    #[error("the body is too large")]
    TooLarge,
    #[error("a chunk is malformed")]
    MalformedChunk,
    #[error("a trailer is malformed")]
    MalformedTrailer,
}

/// How the payload is protected, by `x-amz-content-sha256`.
pub(crate) enum Protection {
    None,
    Hash(PayloadHash),
    Chunks(Box<ChunkDecoder>),
}

/// A payload hash that was announced, and what has come so far. Most requests have no body, so nothing is hashed before there is one.
pub(crate) struct PayloadHash {
    expected: [u8; 32],
    seen: Option<Sha256>,
}

impl PayloadHash {
    pub(crate) fn new(expected: [u8; 32]) -> Self {
        Self { expected, seen: None }
    }
    fn update(&mut self, bytes: &[u8]) {
        self.seen.get_or_insert_default().update(bytes);
    }
    fn holds(&mut self) -> bool {
        self.seen.take().map_or(EMPTY, Sha256::finish) == self.expected
    }
}

pub(crate) type Raw = UnsyncBoxBody<Bytes, crate::service::BoxError>;

/// A body on its way in.
pub struct Body {
    raw: Raw,
    protection: Protection,
    declared: Option<u64>,
    seen: u64,
    over: bool,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({:?} bytes declared)", self.declared)
    }
}

impl Body {
    /// `declared` is the length of the decoded body, in bytes.
    pub(crate) fn new(raw: Raw, protection: Protection, declared: Option<u64>) -> Self {
        Self { raw, protection, declared, seen: 0, over: false }
    }
    pub fn declared_len(&self) -> Option<u64> {
        self.declared
    }
    /// The trailers, once `next` gave `None`.
    pub fn trailers(&self) -> &[(String, String)] {
        match &self.protection {
            Protection::Chunks(decoder) => decoder.trailers(),
            Protection::None | Protection::Hash(_) => &[],
        }
    }

    /// The next piece; `None` at the end, once everything announced about the body held.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyFault> {
        loop {
            if self.over {
                return Ok(None);
            }
            if let Protection::Chunks(decoder) = &mut self.protection
                && let Some(data) = decoder.pull()?
            {
                return self.counted(data).map(Some);
            }
            match self.frame().await? {
                Some(bytes) => match &mut self.protection {
                    Protection::Chunks(decoder) => {
                        if decoder.is_done() {
                            return Err(BodyFault::MalformedChunk);
                        }
                        decoder.push(bytes);
                    }
                    Protection::Hash(hash) => {
                        hash.update(&bytes);
                        return self.counted(bytes).map(Some);
                    }
                    Protection::None => return self.counted(bytes).map(Some),
                },
                None => {
                    self.end()?;
                    self.over = true;
                }
            }
        }
    }

    fn counted(&mut self, data: Bytes) -> Result<Bytes, BodyFault> {
        self.seen += data.len() as u64;
        if self.declared.is_some_and(|declared| self.seen > declared) { Err(BodyFault::Incomplete) } else { Ok(data) }
    }

    fn end(&mut self) -> Result<(), BodyFault> {
        match &mut self.protection {
            Protection::Chunks(decoder) => {
                decoder.finish()?;
                if decoder.has_rest() {
                    return Err(BodyFault::MalformedChunk);
                }
            }
            Protection::Hash(hash) => {
                if !hash.holds() {
                    return Err(BodyFault::Sha256Mismatch);
                }
            }
            Protection::None => {}
        }
        if self.declared.is_some_and(|declared| self.seen != declared) { Err(BodyFault::Incomplete) } else { Ok(()) }
    }

    async fn frame(&mut self) -> Result<Option<Bytes>, BodyFault> {
        loop {
            if self.raw.is_end_stream() {
                return Ok(None);
            }
            match tokio::time::timeout(IDLE, self.raw.frame()).await {
                Err(_) => return Err(BodyFault::Timeout),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "a request body broke off");
                    return Err(BodyFault::Disconnected);
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}
