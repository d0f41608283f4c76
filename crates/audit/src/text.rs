//! JSON written straight into bytes, as serde_json writes it. An event is a few dozen short texts and is written twice for a change:
//! a serializer that looks at each byte by itself took a twelfth of a small write.

use serde_json::{Map, Value};

/// An object that is being written; `end` closes it.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    pub(crate) fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        push_text(self.out, text);
    }
    pub(crate) fn text_or_null(&mut self, name: &'static str, text: Option<&str>) {
        self.name(name);
        match text {
            Some(text) => push_text(self.out, text),
            None => self.out.extend_from_slice(b"null"),
        }
    }
    pub(crate) fn flag(&mut self, name: &'static str, flag: bool) {
        self.name(name);
        push_flag(self.out, flag);
    }
    /// A name that came from elsewhere.
    pub(crate) fn value(&mut self, name: &str, value: &Value) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        push_text(self.out, name);
        self.out.push(b':');
        push_value(self.out, value);
    }
    pub(crate) fn map(&mut self, name: &'static str, map: &Map<String, Value>) {
        self.name(name);
        push_map(self.out, map);
    }
    pub(crate) fn object(&mut self, name: &'static str) -> Object<'_> {
        self.name(name);
        Object::begin(self.out)
    }
    /// A list of objects.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        items: impl Iterator<Item = T>,
        write: impl Fn(T, Object<'_>),
    ) {
        self.name(name);
        push_list(self.out, items, |out, item| write(item, Object::begin(out)));
    }

    /// A name that stands in the code: nothing in it needs escaping.
    fn name(&mut self, name: &'static str) {
        let start: &[u8] = if std::mem::take(&mut self.empty) { b"\"" } else { b",\"" };
        self.out.extend_from_slice(start);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a text, into memory");
    }
}

/// Whether JSON takes a text as it is: no control character, no quote, no backslash. Looks at eight bytes at once.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().chain([&last]).fold(0, |found, word| found | special(u64::from_ne_bytes(*word))) == 0
}

/// Not 0 where one of eight bytes needs escaping: "Bit Twiddling Hacks", haszero and hasless.
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let has_less = |word: u64, than: u8| word.wrapping_sub(ONES * u64::from(than)) & !word & HIGH;
    let has = |byte: u8| has_less(word ^ (ONES * u64::from(byte)), 1);
    has_less(word, b' ') | has(b'"') | has(b'\\')
}

fn push_flag(out: &mut Vec<u8>, flag: bool) {
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

fn push_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(flag) => push_flag(out, *flag),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => push_text(out, text),
        Value::Array(items) => push_list(out, items.iter(), push_value),
        Value::Object(map) => push_map(out, map),
    }
}

fn push_map(out: &mut Vec<u8>, map: &Map<String, Value>) {
    let mut object = Object::begin(out);
    map.iter().for_each(|(name, value)| object.value(name, value));
    object.end();
}

fn push_list<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, push: impl Fn(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (number, item) in items.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: &Value) {
        let mut out = Vec::new();
        push_value(&mut out, value);
        assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
    }

    #[test]
    fn every_text_and_value_is_as_serde_writes_it() {
        for char in (0..0x500).chain(0xfff0..0x10010).filter_map(char::from_u32) {
            check(&format!("{char}").into());
            for length in 0..9 {
                check(&format!("a text that is{:length$}long enough {char} for many{char}", "").into());
            }
        }
        check(&json!({}));
        check(&json!([]));
        check(&json!({ "a": [1, -7, 2.5, u64::MAX, true, false, null, "", [], [{}], { "\n": {} }], "b": { "c": 0 } }));
    }
}
