//! Takes the framing of aws-chunked off, checking nothing: the limit line pays no check.

use bytes::{Buf, Bytes};

pub(super) struct Dechunker(State);

enum State {
    Plain,
    /// In a line with a chunk's size.
    Line(Vec<u8>),
    Data(u64),
    /// So many bytes of the line's end behind data are missing.
    End(usize),
    /// Behind the last chunk: trailers.
    Done,
}

impl Dechunker {
    pub(super) fn plain() -> Self {
        Self(State::Plain)
    }

    pub(super) fn chunked() -> Self {
        Self(State::Line(Vec::new()))
    }

    pub(super) fn feed(&mut self, mut bytes: Bytes, out: &mut Vec<Bytes>) {
        while !bytes.is_empty() {
            match &mut self.0 {
                State::Plain => return out.push(bytes),
                State::Done => return,
                State::Line(line) => match memchr::memchr(b'\n', &bytes) {
                    None => return line.extend_from_slice(&bytes),
                    Some(end) => {
                        line.extend_from_slice(&bytes.split_to(end + 1));
                        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
                        let size = std::str::from_utf8(&line[..digits])
                            .ok()
                            .and_then(|size| u64::from_str_radix(size, 16).ok());
                        self.0 = match size {
                            Some(size) if size > 0 => State::Data(size),
                            _ => State::Done,
                        };
                    }
                },
                State::Data(left) => {
                    let some = (*left).min(bytes.len() as u64);
                    out.push(bytes.split_to(some as usize));
                    *left -= some;
                    if *left == 0 {
                        self.0 = State::End(2);
                    }
                }
                State::End(left) => {
                    let some = (*left).min(bytes.len());
                    bytes.advance(some);
                    *left -= some;
                    if *left == 0 {
                        self.0 = State::Line(Vec::new());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_comes_off_wherever_it_is_cut() {
        let wire = b"5;chunk-signature=ab\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        for piece in 1..wire.len() {
            let (mut dechunker, mut out) = (Dechunker::chunked(), Vec::new());
            for bytes in wire.chunks(piece) {
                dechunker.feed(Bytes::copy_from_slice(bytes), &mut out);
            }
            assert_eq!(out.concat(), b"hello world", "cut at {piece}");
        }
    }
}
