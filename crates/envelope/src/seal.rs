//! From plaintext to a sealed body. A body whose source fails, at its very end too, never becomes whole.

use crate::{EnvelopeError, Header, PartParams, SealedPart, chunk::PartCodec, key::ContentKey};
use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use std::{collections::VecDeque, fmt};
use tresor_digest::Digests;
use tresor_model::ChecksumAlgorithm;

/// Where plaintext comes from: a request's body, or an object that is copied.
#[async_trait]
pub trait PlainSource: Send {
    /// The next piece, in any size; `None` once everything was seen and every promise about it held.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError>;
    /// The digests of everything; asked for after `next` gave `None`.
    fn digests(&mut self) -> Digests;
}

/// Why a body did not become whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The source failed; its own error, for whoever knows it.
    #[error("the source of a body failed: {0}")]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// `finish` was called before the end.
    #[error("a body was finished before its end")]
    Unfinished,
}

/// Seals one part. The content key stays inside until `finish`.
pub fn seal(key: ContentKey, header: &Header, params: PartParams, source: Box<dyn PlainSource>) -> SealedBody {
    let codec = PartCodec::new(&key, params.number, &params.salt, params.stream);
    SealedBody {
        source,
        codec,
        key,
        params,
        chunk: header.chunk(),
        pending: BytesMut::new(),
        length: 0,
        index: 0,
        state: State::Reading,
        ready: VecDeque::new(),
    }
}

/// Ciphertext of one part whose last chunk is marked. Only this can be given to a blob store.
pub struct SealedBody {
    source: Box<dyn PlainSource>,
    codec: PartCodec,
    key: ContentKey,
    params: PartParams,
    chunk: usize,
    pending: BytesMut,
    length: u64,
    index: u64,
    state: State,
    /// Chunks that `take_small` sealed and gave back.
    ready: VecDeque<Bytes>,
}

#[derive(PartialEq, Eq)]
enum State {
    Reading,
    /// The source has ended; what is pending is sealed as the last chunk.
    Drained,
    Done,
}

impl fmt::Debug for SealedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedBody({} bytes so far)", self.length)
    }
}

/// What is known once a body is whole.
#[derive(Debug)]
pub struct Finished {
    pub part: SealedPart,
    pub digests: Digests,
    /// The checksums, sealed under the part's salt; `None` when there are none.
    pub sealed_checksums: Option<Vec<u8>>,
}

impl SealedBody {
    /// The next sealed chunk; `None` after the last. Errors: those of the source.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self.ready.pop_front() {
            Some(chunk) => Ok(Some(chunk)),
            None => self.seal_next().await,
        }
    }

    /// The whole body if its ciphertext has at most `limit` bytes; otherwise `None`, and `next` still gives everything.
    pub async fn take_small(&mut self, limit: usize) -> Result<Option<Vec<u8>>, BodyError> {
        let mut sealed = 0;
        while sealed <= limit {
            match self.seal_next().await? {
                Some(chunk) => {
                    sealed += chunk.len();
                    self.ready.push_back(chunk);
                }
                None => return Ok(Some(self.ready.drain(..).collect::<Vec<_>>().concat())),
            }
        }
        Ok(None)
    }

    async fn seal_next(&mut self) -> Result<Option<Bytes>, BodyError> {
        // One byte more than a chunk tells that this chunk is not the last.
        while self.state == State::Reading && self.pending.len() <= self.chunk {
            match self.source.next().await? {
                Some(piece) => self.pending.extend_from_slice(&piece),
                None => self.state = State::Drained,
            }
        }
        if self.state == State::Done {
            return Ok(None);
        }
        let take = self.pending.len().min(self.chunk);
        let last = self.state == State::Drained && take == self.pending.len();
        let mut chunk = Vec::with_capacity(take + 32);
        chunk.extend_from_slice(&self.pending[..take]);
        self.pending.advance(take);
        self.codec.seal(self.index, last, &mut chunk);
        self.index += 1;
        self.length += take as u64;
        if last {
            self.state = State::Done;
        }
        Ok(Some(chunk.into()))
    }

    /// What must be stored with the part. Errors: Unfinished.
    pub fn finish(mut self) -> Result<Finished, BodyError> {
        if self.state != State::Done || !self.ready.is_empty() {
            return Err(BodyError::Unfinished);
        }
        let digests = self.source.digests();
        let PartParams { number, salt, stream } = self.params;
        let sealed_checksums = (!digests.checksums.is_empty())
            .then(|| self.key.seal_digests(&salt, &encode_checksums(&digests.checksums)));
        Ok(Finished { part: SealedPart { number, salt, stream, length: self.length }, digests, sealed_checksums })
    }
}

/// Checksums as they are before they are sealed: a CBOR array of algorithm and value in turn.
pub fn encode_checksums(checksums: &[(ChecksumAlgorithm, Vec<u8>)]) -> Vec<u8> {
    let list: Vec<(ChecksumAlgorithm, minicbor::bytes::ByteVec)> =
        checksums.iter().map(|(algorithm, value)| (*algorithm, value.clone().into())).collect();
    minicbor::to_vec(&list).expect("encoding into a Vec cannot fail")
}

/// Errors: Malformed.
pub fn decode_checksums(plain: &[u8]) -> Result<Vec<(ChecksumAlgorithm, Vec<u8>)>, EnvelopeError> {
    let list: Vec<(ChecksumAlgorithm, minicbor::bytes::ByteVec)> =
        minicbor::decode(plain).map_err(|_| EnvelopeError::Malformed)?;
    Ok(list.into_iter().map(|(algorithm, value)| (algorithm, value.into())).collect())
}
