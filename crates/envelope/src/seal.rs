//! From plaintext to a sealed body. A body whose source fails, at its very end too, never becomes whole.

use crate::{
    EnvelopeError, Header, PartParams, SealedPart,
    chunk::{PartCodec, chunks, overhead},
    key::ContentKey,
};
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use std::fmt;
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
        overhead: overhead(header) as usize,
        whole: Bytes::new(),
        gathered: Vec::new(),
        piece: Bytes::new(),
        length: 0,
        index: 0,
        state: State::Reading,
    }
}

/// Ciphertext of one part whose last chunk is marked. Only this can be given to a blob store.
///
/// Plaintext waits in the order of its fields: `whole` or `gathered`, then `piece`. A chunk that lies in one piece is sealed from
/// where it was received to where it is written from; one that came in several pieces is gathered first.
pub struct SealedBody {
    source: Box<dyn PlainSource>,
    codec: PartCodec,
    key: ContentKey,
    params: PartParams,
    chunk: usize,
    /// Tags of one chunk, in bytes.
    overhead: usize,
    /// A piece that was one chunk; then nothing is gathered.
    whole: Bytes,
    /// The beginning of a chunk.
    gathered: Vec<u8>,
    /// What is left of the newest piece.
    piece: Bytes,
    length: u64,
    index: u64,
    state: State,
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
    /// Bytes of one sealed chunk: the least room that `fill` needs.
    pub fn unit(&self) -> usize {
        self.chunk + self.overhead
    }

    /// The last chunk was sealed: `fill` has nothing more to give.
    pub fn is_whole(&self) -> bool {
        self.state == State::Done
    }

    /// Seals as many chunks into `out` as there is room for, and says how many bytes they take; fewer come only at the end.
    /// Errors: those of the source; Unfinished for less room than a chunk.
    pub async fn fill(&mut self, out: &mut [u8]) -> Result<usize, BodyError> {
        if out.len() < self.unit() {
            return Err(BodyError::Unfinished);
        }
        let mut filled = 0;
        while out.len() - filled >= self.unit() && self.state != State::Done {
            // One byte more than a chunk tells that this chunk is not the last.
            if self.waiting() > self.chunk || self.state == State::Drained {
                filled += self.seal_next(&mut out[filled..]);
            } else {
                self.gather();
                self.receive().await?;
            }
        }
        Ok(filled)
    }

    /// The next sealed chunk; `None` after the last. Errors: those of the source.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let mut chunk = vec![0; self.unit()];
        let filled = self.fill(&mut chunk).await?;
        chunk.truncate(filled);
        Ok((filled > 0).then(|| chunk.into()))
    }

    /// The whole body if its ciphertext has at most `limit` bytes; otherwise `None`, and `fill` still gives everything.
    /// Errors: those of the source.
    pub async fn take_small(&mut self, limit: usize) -> Result<Option<Vec<u8>>, BodyError> {
        while self.state == State::Reading {
            if self.sealed_length() > limit {
                return Ok(None);
            }
            self.receive().await?;
        }
        if self.sealed_length() > limit {
            return Ok(None);
        }
        let mut small = vec![0; self.sealed_length()];
        let mut filled = 0;
        while self.state != State::Done {
            filled += self.seal_next(&mut small[filled..]);
        }
        Ok(Some(small))
    }

    /// Bytes of plaintext that wait.
    fn waiting(&self) -> usize {
        self.whole.len() + self.gathered.len() + self.piece.len()
    }

    /// What waits, sealed, in bytes.
    fn sealed_length(&self) -> usize {
        self.waiting() + chunks(self.waiting() as u64, self.chunk as u64) as usize * self.overhead
    }

    /// Takes the next piece from the source. More than a chunk never waits before it.
    async fn receive(&mut self) -> Result<(), BodyError> {
        match self.source.next().await? {
            Some(piece) => {
                self.gather();
                self.piece = piece;
            }
            None => self.state = State::Drained,
        }
        Ok(())
    }

    /// Lets go of the newest piece, so that who receives can use its memory again for the next: what is left of it, at most a
    /// chunk, is copied, unless it is a chunk and nothing else waits.
    fn gather(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        if piece.len() == self.chunk && self.gathered.is_empty() {
            self.whole = piece;
            return;
        }
        if self.gathered.is_empty() && piece.len() > self.chunk / 2 {
            self.gathered.reserve_exact(self.chunk);
        }
        self.gathered.extend_from_slice(&piece);
    }

    /// Seals the next chunk into the start of `out`: a whole one, or what is left. Says how many bytes it takes.
    fn seal_next(&mut self, out: &mut [u8]) -> usize {
        let take = self.waiting().min(self.chunk);
        let last = self.state == State::Drained && take == self.waiting();
        let plain = if !self.whole.is_empty() {
            &self.whole[..]
        } else if self.gathered.is_empty() {
            &self.piece[..take]
        } else {
            let missing = take - self.gathered.len();
            self.gathered.extend_from_slice(&self.piece[..missing]);
            self.piece.advance(missing);
            &self.gathered[..]
        };
        let sealed = take + self.overhead;
        self.codec.seal(self.index, last, plain, &mut out[..sealed]);
        if !self.whole.is_empty() {
            self.whole = Bytes::new();
        } else if self.gathered.is_empty() {
            self.piece.advance(take);
        } else {
            self.gathered.clear();
        }
        self.index += 1;
        self.length += take as u64;
        if last {
            self.state = State::Done;
        }
        sealed
    }

    /// What must be stored with the part. Errors: Unfinished.
    pub fn finish(mut self) -> Result<Finished, BodyError> {
        if self.state != State::Done {
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
