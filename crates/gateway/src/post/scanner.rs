//! `multipart/form-data` taken apart as it arrives: what is held is one piece of the body and one part's head, whatever the client
//! sends. No I/O. Source: RFC 2046 section 5.1, RFC 7578.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

/// The longest boundary, in bytes. RFC 2046 allows 70.
const MAX_BOUNDARY: usize = 70;
/// The head of one part, in bytes.
const MAX_PART_HEAD: usize = 8 * 1024;
/// White space behind a boundary, which a mail gateway may have added.
const MAX_PADDING: usize = 256;

/// The body is no well-formed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What the head of a part says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartHead {
    /// The name of a `form-data` part; parts of other kinds have none.
    pub name: Option<String>,
    pub filename: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing can be told without further bytes.
    More,
    /// A part begins.
    Part(PartHead),
    /// Bytes of the part that has begun.
    Data(Bytes),
    PartEnd,
    /// Behind the last part; what follows means nothing.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    Boundary,
    Head,
    Data,
    Over,
}

#[derive(Debug)]
pub(crate) struct Scanner {
    /// `CR LF -- boundary`
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
}

impl Scanner {
    /// By the value of Content-Type. Errors: Malformed, also for a boundary that is missing or too long.
    pub(crate) fn new(content_type: &str) -> Result<Self, Malformed> {
        let boundary = parameters(content_type).find_map(|(name, value)| (name == "boundary").then_some(value));
        let boundary = boundary.filter(|boundary| (1..=MAX_BOUNDARY).contains(&boundary.len())).ok_or(Malformed)?;
        // The first boundary may stand at the very beginning, where no line ends.
        Ok(Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            buffer: BytesMut::from("\r\n"),
            state: State::Preamble,
        })
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        if self.state != State::Over {
            self.buffer.extend_from_slice(piece);
        }
    }

    pub(crate) fn step(&mut self) -> Result<Step, Malformed> {
        loop {
            match self.state {
                State::Preamble => match memmem::find(&self.buffer, &self.delimiter) {
                    None => {
                        self.take_safe();
                        return Ok(Step::More);
                    }
                    Some(at) => self.pass(at + self.delimiter.len(), State::Boundary),
                },
                State::Boundary => {
                    if self.buffer.starts_with(b"--") {
                        self.buffer.clear();
                        self.state = State::Over;
                        continue;
                    }
                    let padding = self.buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                    let rest = &self.buffer[padding..];
                    if rest.starts_with(b"\r\n") {
                        // The line's end stays: a part without a head has nothing but it before its empty line.
                        self.pass(padding, State::Head);
                    } else if padding <= MAX_PADDING && (b"\r\n".starts_with(rest) || (padding == 0 && rest == b"-")) {
                        return Ok(Step::More);
                    } else {
                        return Err(Malformed);
                    }
                }
                State::Head => match memmem::find(&self.buffer, b"\r\n\r\n") {
                    Some(at) if at <= MAX_PART_HEAD => {
                        let head = part_head(&self.buffer[..at])?;
                        self.pass(at + 4, State::Data);
                        return Ok(Step::Part(head));
                    }
                    None if self.buffer.len() <= MAX_PART_HEAD => return Ok(Step::More),
                    _ => return Err(Malformed),
                },
                State::Data => {
                    return Ok(match memmem::find(&self.buffer, &self.delimiter) {
                        Some(0) => {
                            self.pass(self.delimiter.len(), State::Boundary);
                            Step::PartEnd
                        }
                        Some(at) => Step::Data(self.buffer.split_to(at).freeze()),
                        None => self.take_safe().map_or(Step::More, Step::Data),
                    });
                }
                State::Over => return Ok(Step::End),
            }
        }
    }

    fn pass(&mut self, count: usize, next: State) {
        drop(self.buffer.split_to(count));
        self.state = next;
    }

    /// What cannot be the beginning of a delimiter.
    fn take_safe(&mut self) -> Option<Bytes> {
        let safe = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
        (safe > 0).then(|| self.buffer.split_to(safe).freeze())
    }
}

/// Reads the lines of a head. Errors: Malformed for bytes that are no UTF-8.
fn part_head(lines: &[u8]) -> Result<PartHead, Malformed> {
    let text = std::str::from_utf8(lines).map_err(|_| Malformed)?;
    let mut head = PartHead::default();
    for line in text.split("\r\n") {
        let Some((name, value)) = line.split_once(':') else { continue };
        if !name.trim().eq_ignore_ascii_case("content-disposition") {
            continue;
        }
        let kind = value.split(';').next().unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("form-data") {
            continue;
        }
        for (name, value) in parameters(value) {
            match name.as_str() {
                "name" => head.name = Some(value),
                "filename" => head.filename = Some(value),
                _ => {}
            }
        }
    }
    Ok(head)
}

/// `; name=value; name="value"` behind the first word, names in lower case. In a quoted value a backslash hides a quote or another
/// backslash and nothing else: browsers send the paths of Windows as they are.
fn parameters(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let mut rest = text.split_once(';').map_or("", |(_, rest)| rest);
    std::iter::from_fn(move || {
        loop {
            let (name, value) = rest.split_once('=')?;
            // A parameter without a value, in front of this one, is passed over.
            let name = name.rsplit(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            let value = value.trim_start();
            let read = match value.strip_prefix('"') {
                Some(quoted) => {
                    let (read, behind) = unquote(quoted);
                    rest = behind.split_once(';').map_or("", |(_, rest)| rest);
                    read
                }
                None => {
                    let (read, behind) = value.split_once(';').unwrap_or((value, ""));
                    rest = behind;
                    read.trim().to_owned()
                }
            };
            if !name.is_empty() {
                return Some((name, read));
            }
        }
    })
}

/// A quoted value up to its closing quote, and what follows.
fn unquote(text: &str) -> (String, &str) {
    let mut read = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (read, &text[at + 1..]),
            '\\' => match characters.peek() {
                Some((_, next @ ('"' | '\\'))) => {
                    read.push(*next);
                    characters.next();
                }
                _ => read.push('\\'),
            },
            other => read.push(other),
        }
    }
    (read, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/form-data; charset=utf-8; boundary=\"b-1\"";

    /// The parts of a body that arrives in pieces of `size` bytes.
    fn scan(body: &[u8], size: usize) -> Result<Vec<(PartHead, Vec<u8>)>, Malformed> {
        let mut scanner = Scanner::new(TYPE)?;
        let mut parts: Vec<(PartHead, Vec<u8>)> = Vec::new();
        let mut pieces = body.chunks(size);
        loop {
            match scanner.step()? {
                Step::More => scanner.push(pieces.next().ok_or(Malformed)?),
                Step::Part(head) => parts.push((head, Vec::new())),
                Step::Data(data) => parts.last_mut().unwrap().1.extend_from_slice(&data),
                Step::PartEnd => {}
                Step::End => return Ok(parts),
            }
            assert!(scanner.buffer.len() <= MAX_PART_HEAD + size + scanner.delimiter.len());
        }
    }

    fn named(name: &str, filename: Option<&str>) -> PartHead {
        PartHead { name: Some(name.into()), filename: filename.map(str::to_owned) }
    }

    #[test]
    fn forms_however_they_arrive() {
        let body = b"preamble\r\n--b-1\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na\r\n-b\r\n--b-1  \r\n\
            content-disposition: FORM-DATA; name=\"file\"; filename=\"C:\\dir\\x \\\"1\\\".txt\"\r\nContent-Type: a/b\r\n\r\n\r\n--b-1--\r\nepilogue";
        let expected =
            vec![(named("key", None), b"a\r\n-b".to_vec()), (named("file", Some("C:\\dir\\x \"1\".txt")), Vec::new())];
        for size in 1..body.len() + 1 {
            assert_eq!(scan(body, size), Ok(expected.clone()), "{size}");
        }
        // No preamble, a part without a head.
        assert_eq!(scan(b"--b-1\r\n\r\nx\r\n--b-1--", 3), Ok(vec![(PartHead::default(), b"x".to_vec())]));
        assert_eq!(scan(b"--b-1--", 1), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_form() {
        for bad in
            ["", "--b-1", "--b-1\r\n\r\nx", "--b-1\r\nContent-Disposition: form-data\r\n", "--b-1x\r\n\r\n\r\n--b-1--"]
        {
            assert_eq!(scan(bad.as_bytes(), 4), Err(Malformed), "{bad}");
        }
        let long = format!("--b-1\r\nx: {}\r\n\r\n\r\n--b-1--", "y".repeat(MAX_PART_HEAD));
        assert_eq!(scan(long.as_bytes(), 100), Err(Malformed));
        assert!(Scanner::new("multipart/form-data").is_err());
        assert!(Scanner::new(&format!("multipart/form-data; boundary={}", "b".repeat(71))).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_alike_in_any_pieces(body in "(\r\n|--b-1|--|-|b|\r|\n| |Content-Disposition: form-data; name=\"a\"){0,40}", size in 1..20_usize) {
            prop_assert_eq!(scan(body.as_bytes(), size), scan(body.as_bytes(), 10_000));
        }

        #[test]
        fn what_a_part_holds_comes_out_again(data in proptest::collection::vec(any::<u8>(), 0..300), size in 1..50_usize) {
            let mut body = b"--b-1\r\nContent-Disposition: form-data; name=file\r\n\r\n".to_vec();
            body.extend_from_slice(&data);
            body.extend_from_slice(b"\r\n--b-1--");
            let inside = memmem::find(&data, b"\r\n--b-1").is_some();
            prop_assume!(!inside);
            prop_assert_eq!(scan(&body, size), Ok(vec![(named("file", None), data)]));
        }
    }
}
