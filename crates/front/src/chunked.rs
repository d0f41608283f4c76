//! aws-chunked, without I/O: bytes go in, data comes out, signatures are checked on the way.
//! Source: S3 API reference, "Signature calculations for the Authorization header: transferring payload in multiple chunks".

use crate::{
    auth::SigningKey,
    body::{BodyFault, EMPTY_SHA256},
};
use bytes::{Buf, Bytes};
use std::sync::Arc;
use tresor_digest::Sha256;

/// The longest chunk header, in bytes.
const MAX_LINE: usize = 1024;
/// All trailers together, in bytes.
const MAX_TRAILERS: usize = 8 * 1024;

/// What signs the chunks: the request's signing key and the chain of signatures.
pub(crate) struct ChunkSigner {
    pub key: Arc<SigningKey>,
    /// `20261123T205711Z`
    pub date_time: String,
    /// `20261123/us-east-1/s3/aws4_request`
    pub scope: String,
    /// The signature before; at first the request's own.
    pub previous: String,
}

impl ChunkSigner {
    fn check(&mut self, algorithm: &str, parts: &[&str], signature: &str) -> Result<(), BodyFault> {
        let Self { date_time, scope, previous, .. } = self;
        let string = format!("{algorithm}\n{date_time}\n{scope}\n{previous}\n{}", parts.join("\n"));
        if !self.key.made(signature, &string) {
            return Err(BodyFault::ChunkSignature);
        }
        signature.clone_into(&mut self.previous);
        Ok(())
    }
}

enum State {
    Header,
    Data {
        left: u64,
    },
    /// The line end behind a chunk's data.
    DataEnd,
    Trailer,
    Done,
}

/// Decodes one body.
pub struct ChunkDecoder {
    signer: Option<ChunkSigner>,
    expects_trailer: bool,
    state: State,
    /// What was received and not yet decoded. Data is cut out of it, not copied.
    input: Bytes,
    /// The beginning of a line, or of the end of a chunk, whose rest is still to come.
    begun: Vec<u8>,
    hash: Sha256,
    signature: String,
    trailers: Vec<(String, String)>,
    trailer_bytes: usize,
}

impl ChunkDecoder {
    /// For a body whose chunks bear no signatures.
    pub fn unsigned(expects_trailer: bool) -> Self {
        Self::new(None, expects_trailer)
    }
    pub(crate) fn new(signer: Option<ChunkSigner>, expects_trailer: bool) -> Self {
        Self {
            signer,
            expects_trailer,
            state: State::Header,
            input: Bytes::new(),
            begun: Vec::new(),
            hash: Sha256::new(),
            signature: String::new(),
            trailers: Vec::new(),
            trailer_bytes: 0,
        }
    }

    /// Adds what was received. Copies only what comes before `pull` asked for more.
    pub fn push(&mut self, bytes: Bytes) {
        self.input = match self.input.is_empty() {
            true => bytes,
            false => [&self.input[..], &bytes].concat().into(),
        };
    }
    /// The last chunk and its trailers were seen.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }
    /// Whether bytes follow the end.
    pub fn has_rest(&self) -> bool {
        !self.input.is_empty()
    }
    pub fn trailers(&self) -> &[(String, String)] {
        &self.trailers
    }

    /// The next data, `None` when more input is needed or the body is done.
    /// Errors: MalformedChunk, MalformedTrailer, ChunkSignature.
    pub fn pull(&mut self) -> Result<Option<Bytes>, BodyFault> {
        loop {
            match &mut self.state {
                State::Header => {
                    let Some(line) = self.line()? else { return Ok(None) };
                    let size = self.header(&line)?;
                    self.state = match size {
                        0 => {
                            self.end_chunk()?;
                            State::Trailer
                        }
                        left => State::Data { left },
                    };
                }
                State::Data { left } => {
                    if self.input.is_empty() {
                        return Ok(None);
                    }
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                    *left -= take as u64;
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    let data = self.input.split_to(take);
                    if self.signer.is_some() {
                        self.hash.update(&data);
                    }
                    return Ok(Some(data));
                }
                State::DataEnd => {
                    while self.begun.len() < 2 {
                        if self.input.is_empty() {
                            return Ok(None);
                        }
                        self.begun.push(self.input.get_u8());
                    }
                    if self.begun != b"\r\n" {
                        return Err(BodyFault::MalformedChunk);
                    }
                    self.begun.clear();
                    self.end_chunk()?;
                    self.state = State::Header;
                }
                State::Trailer => {
                    let Some(line) = self.line()? else { return Ok(None) };
                    if line.is_empty() {
                        self.end_trailers()?;
                        self.state = State::Done;
                    } else {
                        self.trailer(&line)?;
                    }
                }
                State::Done => return Ok(None),
            }
        }
    }

    /// At the end of the input: a client may leave out the last empty line.
    pub fn finish(&mut self) -> Result<(), BodyFault> {
        match self.state {
            State::Done => Ok(()),
            State::Trailer if self.input.is_empty() && self.begun.is_empty() => {
                self.end_trailers()?;
                self.state = State::Done;
                Ok(())
            }
            State::Header | State::Data { .. } | State::DataEnd | State::Trailer => Err(BodyFault::Incomplete),
        }
    }

    /// One line without its end; nothing while its end has not come.
    fn line(&mut self) -> Result<Option<String>, BodyFault> {
        let most = (MAX_LINE + 2).saturating_sub(self.begun.len()).min(self.input.len());
        let mut before = self.begun.last().copied();
        let end = self.input[..most].iter().position(|byte| before.replace(*byte) == Some(b'\r') && *byte == b'\n');
        let taken = self.input.split_to(end.map_or(most, |end| end + 1));
        self.begun.extend_from_slice(&taken);
        match end {
            Some(_) => {
                let mut line = std::mem::take(&mut self.begun);
                line.truncate(line.len() - 2);
                String::from_utf8(line).map(Some).map_err(|_| BodyFault::MalformedChunk)
            }
            None if self.begun.len() < MAX_LINE + 2 => Ok(None),
            None => Err(BodyFault::MalformedChunk),
        }
    }

    /// `SIZE` in hex, `;chunk-signature=…` behind it when chunks are signed.
    fn header(&mut self, line: &str) -> Result<u64, BodyFault> {
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        if self.signer.is_some() {
            self.signature = extension.strip_prefix("chunk-signature=").ok_or(BodyFault::MalformedChunk)?.to_owned();
        }
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BodyFault::MalformedChunk);
        }
        u64::from_str_radix(size, 16).map_err(|_| BodyFault::MalformedChunk)
    }

    fn end_chunk(&mut self) -> Result<(), BodyFault> {
        let Some(signer) = &mut self.signer else { return Ok(()) };
        let hash = hex::encode(std::mem::take(&mut self.hash).finish());
        signer.check("AWS4-HMAC-SHA256-PAYLOAD", &[EMPTY_SHA256, &hash], &self.signature)
    }

    fn trailer(&mut self, line: &str) -> Result<(), BodyFault> {
        self.trailer_bytes += line.len();
        let (name, value) = line.split_once(':').ok_or(BodyFault::MalformedTrailer)?;
        if !self.expects_trailer || self.trailer_bytes > MAX_TRAILERS {
            return Err(BodyFault::MalformedTrailer);
        }
        self.trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        Ok(())
    }

    /// The last trailer signs those before it.
    fn end_trailers(&mut self) -> Result<(), BodyFault> {
        let Some(signer) = &mut self.signer else { return Ok(()) };
        if !self.expects_trailer {
            return Ok(());
        }
        let at = self.trailers.iter().position(|(name, _)| name == "x-amz-trailer-signature");
        let (_, signature) = self.trailers.remove(at.ok_or(BodyFault::MalformedTrailer)?);
        let lines: String = self.trailers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        signer.check("AWS4-HMAC-SHA256-TRAILER", &[&hex::encode(tresor_digest::sha256(lines.as_bytes()))], &signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Decoded = (Vec<u8>, Vec<(String, String)>);

    fn decode(pieces: &[&[u8]], mut decoder: ChunkDecoder) -> Result<Decoded, BodyFault> {
        let mut all = Vec::new();
        for piece in pieces {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(data) = decoder.pull()? {
                all.extend_from_slice(&data);
            }
        }
        decoder.finish()?;
        Ok((all, decoder.trailers().to_vec()))
    }

    /// The worked example of the S3 API reference: 65 KiB + 1 KiB of "a", in chunks of 64 KiB.
    fn example() -> (Vec<u8>, ChunkSigner) {
        let key = aws_sigv4::sign::v4::generate_signing_key(
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_369_353_600),
            "us-east-1",
            "s3",
        );
        let signer = ChunkSigner {
            key: Arc::new(SigningKey::new(key.as_ref())),
            date_time: "20130524T000000Z".into(),
            scope: "20130524/us-east-1/s3/aws4_request".into(),
            previous: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".into(),
        };
        let mut body =
            b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n".to_vec();
        body.extend_from_slice(&[b'a'; 65_536]);
        body.extend_from_slice(
            b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n",
        );
        body.extend_from_slice(&[b'a'; 1024]);
        body.extend_from_slice(
            b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n",
        );
        (body, signer)
    }

    #[test]
    fn the_example_of_the_reference_decodes() {
        let (body, signer) = example();
        let (data, _) = decode(&[&body], ChunkDecoder::new(Some(signer), false)).unwrap();
        assert!(data == [b'a'; 66_560]);
        let (mut body, signer) = example();
        body[66_000] ^= 1;
        assert!(matches!(decode(&[&body], ChunkDecoder::new(Some(signer), false)), Err(BodyFault::ChunkSignature)));
    }

    #[test]
    fn unsigned_chunks_with_a_trailer() {
        let body = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
        for cut in 0..body.len() {
            let (data, trailers) = decode(&[&body[..cut], &body[cut..]], ChunkDecoder::unsigned(true)).unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "DUoRhQ==".to_owned())]);
        }
        for end in 0..body.len() - 2 {
            let outcome = decode(&[&body[..end]], ChunkDecoder::unsigned(true));
            // Without any trailer line the body may end after the last chunk; the missing checksum is found later.
            assert!(outcome.is_err() || end >= body.len() - 34, "cut at {end}");
        }
        for bad in [&b"x\r\n"[..], b"5\r\nhelloXX0\r\n\r\n", b"-5\r\n", b"5;\r\nhell", b"0\r\nnocolon\r\n\r\n"] {
            assert!(decode(&[bad], ChunkDecoder::unsigned(true)).is_err());
        }
        assert!(decode(&[&[b'1'; 4096]], ChunkDecoder::unsigned(true)).is_err());
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            decode(&[&noise], ChunkDecoder::unsigned(true)).ok();
        }
    }
}
