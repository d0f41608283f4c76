//! S3's XML, written and read with quick-xml. The only file that knows the library.

use crate::error::S3Error;
use quick_xml::{
    Reader, Writer, XmlVersion,
    escape::escape,
    events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event},
};
use tresor_front::{Response, ResponseBody};

/// The name space of every S3 document except errors.
pub(crate) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// Elements deeper than any document of the API.
const MAX_DEPTH: usize = 16;

/// Writes one document. Writing into memory cannot fail, which is why no method returns a result.
pub(crate) struct XmlWriter {
    writer: Writer<Vec<u8>>,
    root: &'static str,
}

impl XmlWriter {
    /// A document whose root bears S3's name space.
    pub(crate) fn document(root: &'static str) -> Self {
        Self::start(root, Some(NAMESPACE))
    }
    /// A document without a name space: errors.
    pub(crate) fn bare(root: &'static str) -> Self {
        Self::start(root, None)
    }
    fn start(root: &'static str, namespace: Option<&str>) -> Self {
        let mut this = Self { writer: Writer::new(Vec::with_capacity(512)), root };
        this.event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        let mut start = BytesStart::new(root);
        if let Some(namespace) = namespace {
            start.push_attribute(("xmlns", namespace));
        }
        this.event(Event::Start(start));
        this
    }
    fn event(&mut self, event: Event<'_>) {
        self.writer.write_event(event).expect("writing into a Vec cannot fail");
    }
    /// Makes room for so many bytes, for who knows that a document is long.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.writer.get_mut().reserve(bytes);
    }
    /// `<name>value</name>`, escaped.
    #[inline]
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        if is_special(value) { self.escaped(name, &escape(value)) } else { self.escaped(name, value) }
    }
    /// The same for a value that needs no escaping, or has it.
    #[inline]
    pub(crate) fn escaped(&mut self, name: &str, value: &str) {
        self.pieces([b"<", name.as_bytes(), b">", value.as_bytes(), b"</", name.as_bytes(), b">"]);
    }
    /// The same for a number.
    pub(crate) fn number(&mut self, name: &str, value: u64) {
        let name = name.as_bytes();
        self.pieces([b"<", name, b">", Decimal::of(value).digits(), b"</", name, b">"]);
    }
    /// Markup and text that needs no escaping, as they are: for what an answer has a thousand times. Room is made once.
    #[inline]
    pub(crate) fn pieces<const N: usize>(&mut self, pieces: [&[u8]; N]) {
        let out = self.writer.get_mut();
        let mut at = out.len();
        out.resize(at + pieces.iter().map(|piece| piece.len()).sum::<usize>(), 0);
        for piece in pieces {
            out[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
    }
    /// Text right inside the element that is open.
    pub(crate) fn content(&mut self, value: &str) {
        self.event(Event::Text(BytesText::new(value)));
    }
    pub(crate) fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }
    /// `<name>…</name>` around what `inside` writes.
    pub(crate) fn within(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.pieces([b"<", name.as_bytes(), b">"]);
        inside(self);
        self.pieces([b"</", name.as_bytes(), b">"]);
    }
    /// The same, with attributes (`xsi:type` of a grantee).
    pub(crate) fn within_with(&mut self, name: &str, attributes: &[(&str, &str)], inside: impl FnOnce(&mut Self)) {
        self.event(Event::Start(BytesStart::new(name).with_attributes(attributes.iter().copied())));
        inside(self);
        self.event(Event::End(BytesEnd::new(name)));
    }
    pub(crate) fn finish(self) -> String {
        String::from_utf8(self.bytes()).expect("only text was written")
    }
    fn bytes(mut self) -> Vec<u8> {
        self.event(Event::End(BytesEnd::new(self.root)));
        self.writer.into_inner()
    }
    /// 200 with this document.
    pub(crate) fn respond(self) -> Response {
        let mut response = Response::new(ResponseBody::Full(self.bytes().into()));
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/xml"));
        response
    }
}

/// A number's decimal digits.
pub(crate) struct Decimal {
    /// Those of the largest number.
    digits: [u8; 20],
    first: usize,
}

impl Decimal {
    pub(crate) fn of(mut number: u64) -> Self {
        let (mut digits, mut first) = ([b'0'; 20], 19);
        while number > 9 {
            digits[first] += (number % 10) as u8;
            (number, first) = (number / 10, first - 1);
        }
        digits[first] += number as u8;
        Self { digits, first }
    }
    pub(crate) fn digits(&self) -> &[u8] {
        &self.digits[self.first..]
    }
}

/// Whether a text holds a character that has to be escaped. Chunks without a branch inside are what a compiler makes vectors of.
fn is_special(text: &str) -> bool {
    let special = |found: bool, byte: &u8| found | matches!(byte, b'<' | b'>' | b'&' | b'\'' | b'"');
    let (chunks, rest) = text.as_bytes().as_chunks::<16>();
    chunks.iter().any(|chunk| chunk.iter().fold(false, special)) || rest.iter().fold(false, special)
}

/// One element of a document that was read: name, attributes, text, children. Name spaces are not looked at, as S3 does not.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// Reads a document whose root must be `root`. Anything else is MalformedXML.
    pub(crate) fn parse(document: &[u8], root: &str) -> Result<Self, S3Error> {
        let element = Self::read(document).ok_or_else(S3Error::malformed_xml)?;
        if element.name == root { Ok(element) } else { Err(S3Error::malformed_xml()) }
    }

    fn read(document: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_str(std::str::from_utf8(document).ok()?);
        let mut open: Vec<Self> = Vec::new();
        let mut root = None;
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    if open.len() == MAX_DEPTH || root.is_some() {
                        return None;
                    }
                    open.push(Self::named(&start)?);
                }
                Event::Empty(start) => {
                    let element = Self::named(&start)?;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(element),
                        None if root.is_none() => root = Some(element),
                        None => return None,
                    }
                }
                Event::End(_) => {
                    let element = open.pop()?;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(element),
                        None => root = Some(element),
                    }
                }
                Event::Text(text) => match open.last_mut() {
                    Some(element) => element.text.push_str(&text.xml10_content()),
                    None if text.trim().is_empty() => {}
                    None => return None,
                },
                Event::CData(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let character = match reference.resolve_char_ref().ok()? {
                        Some(character) => character.to_string(),
                        None => quick_xml::escape::resolve_predefined_entity(&reference)?.to_owned(),
                    };
                    open.last_mut()?.text.push_str(&character);
                }
                Event::DocType(_) => return None,
                Event::Eof => break,
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            }
        }
        if open.is_empty() { root } else { None }
    }

    fn named(start: &BytesStart<'_>) -> Option<Self> {
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned();
            attributes.push((attribute.key.local_name().as_ref().to_owned(), value));
        }
        Some(Self { name: start.local_name().as_ref().to_owned(), attributes, ..Self::default() })
    }

    /// An attribute's value, by its local name.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The only child of that name; none or several are MalformedXML.
    pub(crate) fn only(&self, name: &str) -> Result<&Self, S3Error> {
        self.at_most_one(name)?.ok_or_else(S3Error::malformed_xml)
    }
    pub(crate) fn at_most_one(&self, name: &str) -> Result<Option<&Self>, S3Error> {
        let mut found = self.all(name);
        let first = found.next();
        if found.next().is_some() { Err(S3Error::malformed_xml()) } else { Ok(first) }
    }
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
    /// The text of the only child of that name.
    pub(crate) fn text_of(&self, name: &str) -> Result<&str, S3Error> {
        Ok(&self.only(name)?.text)
    }
    pub(crate) fn optional_text_of(&self, name: &str) -> Result<Option<&str>, S3Error> {
        Ok(self.at_most_one(name)?.map(|child| child.text.as_str()))
    }
    /// No children but these.
    pub(crate) fn expect_only(&self, names: &[&str]) -> Result<(), S3Error> {
        if self.children.iter().all(|child| names.contains(&child.name.as_str())) {
            Ok(())
        } else {
            Err(S3Error::malformed_xml())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut xml = XmlWriter::document("A");
        xml.text("B", "a < b & \"c\" é");
        xml.within("C", |xml| xml.text("D", ""));
        let read = Element::parse(xml.finish().as_bytes(), "A").unwrap();
        assert_eq!(read.text_of("B").unwrap(), "a < b & \"c\" é");
        assert_eq!(read.only("C").unwrap().text_of("D").unwrap(), "");
    }

    #[test]
    fn special_characters_are_escaped_wherever_they_stand() {
        for special in ["<", ">", "&", "'", "\""] {
            for before in 0..40 {
                for after in [0, 1, 15, 16, 17] {
                    let text = "a".repeat(before) + special + &"z".repeat(after);
                    let mut xml = XmlWriter::document("A");
                    xml.text("B", &text);
                    let document = xml.finish();
                    assert!(!document.contains(&format!("<B>{text}</B>")), "{document}");
                    assert_eq!(Element::parse(document.as_bytes(), "A").unwrap().text_of("B").unwrap(), text);
                }
            }
        }
        assert!(!is_special("a\0\u{1f}é?=;:-+%#\u{10ffff} 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ/*~"));
    }

    #[test]
    fn numbers_are_written_as_they_print() {
        for number in [0, 1, 9, 10, 99, 100, 65_536, 4_294_967_296, u64::MAX] {
            let mut xml = XmlWriter::document("A");
            xml.number("B", number);
            let read = Element::parse(xml.finish().as_bytes(), "A").unwrap();
            assert_eq!(read.text_of("B").unwrap(), number.to_string());
        }
    }

    #[test]
    fn broken_documents_are_malformed() {
        let deep = "<a>".repeat(40) + &"</a>".repeat(40);
        for bad in [
            "",
            "<A>",
            "<A></B>",
            "<A/><B/>",
            "x<A/>",
            "<!DOCTYPE x [<!ENTITY y 'z'>]><A>&y;</A>",
            "<A>&no;</A>",
            "<B/>",
            &deep,
        ] {
            assert!(Element::parse(bad.as_bytes(), "A").is_err(), "{bad}");
        }
    }
}
