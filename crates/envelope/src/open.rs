//! From ciphertext to authenticated plaintext, trimmed to a range. A range costs the chunks it touches.

use crate::{
    EnvelopeError, Header, SealedPart,
    chunk::{PartCodec, chunks, overhead, touched},
    key::ContentKey,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt;
use std::{collections::VecDeque, fmt, io, ops::Range, pin::Pin, sync::Arc};
use tresor_buffers::Buffer;

/// Ciphertext on its way from a blob store. It has no method that gives bytes to anyone outside of this crate.
pub struct CipherStream(Pin<Box<dyn Stream<Item = io::Result<Buffer>> + Send>>);

impl CipherStream {
    /// Of pieces that are opened where they lie.
    pub fn new<P: Into<Buffer> + 'static>(stream: impl Stream<Item = io::Result<P>> + Send + 'static) -> Self {
        Self(Box::pin(stream.map(|piece| piece.map(Into::into))))
    }
    /// For tests of blob stores, which hold what was written against what is read.
    pub async fn collect(mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.0.next().await {
            all.extend_from_slice(piece?.filled());
        }
        Ok(all)
    }
}

impl fmt::Debug for CipherStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CipherStream")
    }
}

/// Where the ciphertext of an object's parts comes from.
#[async_trait]
pub trait CipherSource: Send {
    /// The bytes `range` of the ciphertext of part `part` (counted from 0 in the list given to `open`), in pieces of a multiple of
    /// `unit` bytes each but for the last.
    async fn read(&mut self, part: usize, range: Range<u64>, unit: usize) -> io::Result<CipherStream>;
}

/// Why plaintext could not be given.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("stored bytes could not be read: {0}")]
    Io(#[from] io::Error),
}

/// One part of the work: the chunks of one part that the range touches.
#[derive(Debug)]
struct Job {
    part: usize,
    chunks: Range<u64>,
    sealed: Range<u64>,
    /// Plaintext bytes to drop in front, and to give.
    skip: u64,
    give: u64,
}

/// Opens the plaintext bytes `range` of an object whose parts follow one another. The range must lie within the object;
/// an empty object's one chunk is opened too. Errors: Malformed for a range beyond the object.
pub fn open(
    key: ContentKey,
    header: &Header,
    parts: impl Into<Arc<[SealedPart]>>,
    range: Range<u64>,
    source: Box<dyn CipherSource>,
) -> Result<PlainBody, EnvelopeError> {
    let parts = parts.into();
    let size: u64 = parts.iter().map(|part| part.length).sum();
    if range.start > range.end || range.end > size || parts.is_empty() {
        return Err(EnvelopeError::Malformed);
    }
    let mut jobs = VecDeque::new();
    let mut start = 0;
    for (part, sealed_part) in parts.iter().enumerate() {
        let end = start + sealed_part.length;
        let overlap = range.start.max(start)..range.end.min(end);
        if overlap.start < overlap.end || (size == 0 && part == 0) {
            let within = overlap.start - start..overlap.end - start;
            let (chunks, sealed) = touched(sealed_part, header, &within);
            let skip = within.start - chunks.start * header.chunk() as u64;
            jobs.push_back(Job { part, chunks, sealed, skip, give: within.end - within.start });
        }
        start = end;
    }
    let length = range.end - range.start;
    Ok(PlainBody {
        key,
        parts,
        source,
        chunk: header.chunk(),
        overhead: overhead(header),
        jobs,
        current: None,
        length,
        opened: Opened::default(),
    })
}

/// Authenticated plaintext.
pub struct PlainBody {
    key: ContentKey,
    parts: Arc<[SealedPart]>,
    source: Box<dyn CipherSource>,
    chunk: usize,
    overhead: u64,
    jobs: VecDeque<Job>,
    current: Option<Current>,
    length: u64,
    opened: Opened,
}

struct Current {
    job: Job,
    stream: CipherStream,
    codec: PartCodec,
    last_chunk: u64,
}

/// A piece whose chunks were opened in place.
#[derive(Default)]
struct Opened {
    bytes: Bytes,
    /// The plaintext in it that is still to be given, in order.
    spans: VecDeque<Range<usize>>,
    /// Why the chunk behind them did not open.
    failed: Option<EnvelopeError>,
}

impl fmt::Debug for PlainBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainBody({} bytes)", self.length)
    }
}

impl PlainBody {
    /// Bytes of plaintext from the start of the range to its end.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Opens the first chunk now, so that what fails there fails before an answer begins.
    pub async fn primed(mut self) -> Result<Self, OpenError> {
        match self.open_piece().await {
            Ok(_) => Ok(self),
            Err(error) => Err(error),
        }
    }

    /// The next piece of plaintext, at most one chunk. Errors: NotAuthentic, Malformed, Io; after one the body is over.
    pub async fn next(&mut self) -> Result<Option<Bytes>, OpenError> {
        loop {
            if let Some(span) = self.opened.spans.pop_front() {
                let bytes = self.opened.bytes.slice(span);
                if self.opened.spans.is_empty() {
                    // The memory goes back with the slices.
                    self.opened.bytes = Bytes::new();
                }
                return Ok(Some(bytes));
            }
            match self.open_piece().await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => {
                    self.jobs.clear();
                    self.current = None;
                    return Err(error);
                }
            }
        }
    }

    /// Opens the chunks of the next piece that has plaintext to give; false at the end.
    async fn open_piece(&mut self) -> Result<bool, OpenError> {
        if let Some(error) = self.opened.failed.take() {
            return Err(error.into());
        }
        let unit = self.chunk + self.overhead as usize;
        loop {
            if self.current.is_none() {
                let Some(job) = self.jobs.pop_front() else { return Ok(false) };
                let part = &self.parts[job.part];
                let stream = self.source.read(job.part, job.sealed.clone(), unit).await?;
                let codec = PartCodec::new(&self.key, part.number, &part.salt, part.stream);
                let last_chunk = chunks(part.length, self.chunk as u64) - 1;
                self.current = Some(Current { job, stream, codec, last_chunk });
            }
            let Some(current) = &mut self.current else { continue };
            if current.job.chunks.is_empty() {
                self.current = None;
                continue;
            }
            let mut piece = match current.stream.0.next().await {
                Some(piece) => piece?,
                None => return Err(EnvelopeError::Malformed.into()),
            };
            let mut opened = Opened::default();
            if let Err(error) = current.open(piece.filled_mut(), unit, &mut opened.spans) {
                if opened.spans.is_empty() {
                    return Err(error.into());
                }
                // What is authentic before it is still given.
                opened.failed = Some(error);
            }
            if !opened.spans.is_empty() {
                opened.bytes = piece.freeze();
                self.opened = opened;
                return Ok(true);
            }
        }
    }
}

impl Current {
    /// Opens the chunks of one piece where they lie, and adds the plaintext to be given of each.
    /// Errors: NotAuthentic; Malformed for a piece that is not made of whole chunks, or that is nothing or too much.
    fn open(&mut self, piece: &mut [u8], unit: usize, spans: &mut VecDeque<Range<usize>>) -> Result<(), EnvelopeError> {
        if piece.is_empty() {
            return Err(EnvelopeError::Malformed);
        }
        let job = &mut self.job;
        let mut at = 0;
        while at < piece.len() {
            let left = usize::try_from(job.sealed.end - job.sealed.start).unwrap_or(usize::MAX);
            let want = left.min(unit);
            if job.chunks.is_empty() || want == 0 || piece.len() - at < want {
                return Err(EnvelopeError::Malformed);
            }
            let index = job.chunks.start;
            let length = self.codec.open(index, index == self.last_chunk, &mut piece[at..at + want])?;
            job.chunks.start += 1;
            job.sealed.start += want as u64;
            let skip = (job.skip as usize).min(length);
            job.skip = 0;
            let give = (length - skip).min(usize::try_from(job.give).unwrap_or(usize::MAX));
            job.give -= give as u64;
            if give > 0 {
                spans.push_back(at + skip..at + skip + give);
            }
            at += want;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BodyError, PartParams, PlainSource, SseMode,
        chunk::tests::{Counting, content_key},
        seal,
    };
    use proptest::prelude::*;
    use tresor_digest::Digests;

    struct Whole(Option<Bytes>);
    #[async_trait]
    impl PlainSource for Whole {
        async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
            Ok(self.0.take())
        }
        fn digests(&mut self) -> Digests {
            Digests::default()
        }
    }

    struct Memory(Vec<Vec<u8>>);
    #[async_trait]
    impl CipherSource for Memory {
        async fn read(&mut self, part: usize, range: Range<u64>, unit: usize) -> io::Result<CipherStream> {
            let all = &self.0[part];
            let end = (range.end as usize).min(all.len());
            let pieces = all[(range.start as usize).min(end)..end].chunks(2 * unit);
            let pieces: Vec<_> = pieces.map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            Ok(CipherStream::new(futures_util::stream::iter(pieces)))
        }
    }

    async fn sealed(mode: SseMode, bodies: &[Vec<u8>]) -> (Vec<SealedPart>, Vec<Vec<u8>>) {
        let entropy = Counting::default();
        let (mut parts, mut blobs) = (Vec::new(), Vec::new());
        for (n, body) in bodies.iter().enumerate() {
            let params = PartParams::fresh(n as u16 + 1, &entropy);
            let source = Box::new(Whole(Some(Bytes::copy_from_slice(body))));
            let mut sealed = seal(content_key(mode), &Header::new(mode, ""), params, source);
            let mut blob = Vec::new();
            while let Some(piece) = sealed.next().await.unwrap() {
                blob.extend_from_slice(&piece);
            }
            let part = sealed.finish().unwrap().part;
            assert_eq!(part.sealed_length(&Header::new(mode, "")), blob.len() as u64);
            parts.push(part);
            blobs.push(blob);
        }
        (parts, blobs)
    }

    async fn opened(
        mode: SseMode,
        parts: Vec<SealedPart>,
        blobs: Vec<Vec<u8>>,
        range: Range<u64>,
    ) -> Result<Vec<u8>, OpenError> {
        let mut plain = open(content_key(mode), &Header::new(mode, ""), parts, range, Box::new(Memory(blobs)))?;
        let mut all = Vec::new();
        while let Some(piece) = plain.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_range_equals_the_slice(sizes in proptest::collection::vec(0_usize..150_000, 1..4), a in any::<proptest::sample::Index>(), b in any::<proptest::sample::Index>(), double in any::<bool>()) {
            let mode = if double { SseMode::Dsse } else { SseMode::S3 };
            let bodies: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(p, n)| (0..*n).map(|i| (i * 7 + p) as u8).collect()).collect();
            let whole = bodies.concat();
            let (x, y) = (a.index(whole.len() + 1), b.index(whole.len() + 1));
            let range = x.min(y)..x.max(y);
            run(async {
                let (parts, blobs) = sealed(mode, &bodies).await;
                let got = opened(mode, parts, blobs, range.start as u64..range.end as u64).await.unwrap();
                assert!(got == whole[range]);
            });
        }
    }

    #[test]
    fn sizes_around_the_chunk_border_round_trip() {
        run(async {
            for size in [0_usize, 1, 65_535, 65_536, 65_537, 131_072] {
                let body = vec![0x5a; size];
                let (parts, blobs) = sealed(SseMode::S3, std::slice::from_ref(&body)).await;
                assert!(opened(SseMode::S3, parts, blobs, 0..size as u64).await.unwrap() == body, "{size}");
            }
        });
    }

    /// Must show 5, on the format: truncation at every chunk border, chunks swapped, a part in another's place.
    #[test]
    fn damaged_bodies_do_not_open() {
        run(async {
            let body: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
            let size = body.len() as u64;
            let (parts, blobs) = sealed(SseMode::S3, &[body]).await;
            let chunk = 65_536 + 16;
            for cut in 0..=3 {
                let short = vec![blobs[0][..cut * chunk].to_vec()];
                assert!(opened(SseMode::S3, parts.clone(), short, 0..size).await.is_err(), "cut at {cut}");
                let mut claimed = parts.clone();
                claimed[0].length = (cut * 65_536) as u64;
                let short = vec![blobs[0][..cut * chunk].to_vec()];
                assert!(
                    opened(SseMode::S3, claimed.clone(), short, 0..claimed[0].length).await.is_err(),
                    "claims {cut}"
                );
            }
            let mut swapped = blobs[0].clone();
            let (first, second) = swapped[..2 * chunk].split_at_mut(chunk);
            first.swap_with_slice(second);
            assert!(opened(SseMode::S3, parts.clone(), vec![swapped], 0..size).await.is_err());
            let mut renumbered = parts;
            renumbered[0].number = 2;
            assert!(opened(SseMode::S3, renumbered, blobs, 0..size).await.is_err());
        });
    }
}
