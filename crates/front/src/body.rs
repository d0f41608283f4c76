//! A request's body: decoded, and held against the payload hash and the chunk signatures while it streams.

use crate::chunked::ChunkDecoder;
use bytes::Bytes;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use std::{fmt, time::Duration};
use tresor_digest::Sha256;

/// How long a body may stand still.
const IDLE: Duration = Duration::from_secs(60);

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
    Hash([u8; 32]),
    Chunks(Box<ChunkDecoder>),
}

pub(crate) type Raw = UnsyncBoxBody<Bytes, crate::service::BoxError>;

/// A body on its way in.
pub struct Body {
    raw: Raw,
    protection: Protection,
    hash: Sha256,
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
        Self { raw, protection, hash: Sha256::new(), declared, seen: 0, over: false }
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
                    Protection::Hash(_) => {
                        self.hash.update(&bytes);
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
            Protection::Hash(expected) => {
                if std::mem::take(&mut self.hash).finish() != *expected {
                    return Err(BodyFault::Sha256Mismatch);
                }
            }
            Protection::None => {}
        }
        if self.declared.is_some_and(|declared| self.seen != declared) { Err(BodyFault::Incomplete) } else { Ok(()) }
    }

    async fn frame(&mut self) -> Result<Option<Bytes>, BodyFault> {
        loop {
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
