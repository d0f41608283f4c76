//! Answers of the Query protocol.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Display;
use tresor_model::Timestamp;
use zeroize::Zeroize;

/// XML while it is written. It may hold a secret that is shown once, so it is zeroed and does not print.
#[derive(Default)]
pub(crate) struct Xml(String);

impl Drop for Xml {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Xml {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub(crate) fn text(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.0.push_str(&format!("<{name}>"));
        for c in value.to_string().chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\r' => self.0.push_str("&#13;"),
                c => self.0.push(c),
            }
        }
        self.0.push_str(&format!("</{name}>"));
        self
    }
    pub(crate) fn maybe(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }
    /// `2026-11-23T20:57:11Z`, as IAM and STS write instants.
    pub(crate) fn time(&mut self, name: &str, at: Timestamp) -> &mut Self {
        let text = at.iso8601();
        self.text(name, format_args!("{}Z", text.get(..19).unwrap_or(&text)))
    }
    /// A policy document, percent-encoded as IAM answers it (RFC 3986).
    pub(crate) fn document(&mut self, name: &str, text: &str) -> &mut Self {
        const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
        self.text(name, utf8_percent_encode(text, KEPT))
    }
    pub(crate) fn element(&mut self, name: &str, inner: impl FnOnce(&mut Self)) -> &mut Self {
        self.0.push_str(&format!("<{name}>"));
        inner(self);
        self.0.push_str(&format!("</{name}>"));
        self
    }
    /// `<NAME><member>..</member>..</NAME>`
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        show: impl Fn(&mut Self, T),
    ) -> &mut Self {
        self.element(name, |xml| {
            for item in items {
                xml.element("member", |xml| show(xml, item));
            }
        })
    }
    pub(crate) fn texts<T: Display>(&mut self, name: &str, items: impl IntoIterator<Item = T>) -> &mut Self {
        self.element(name, |xml| {
            for item in items {
                xml.text("member", item);
            }
        })
    }
    pub(crate) fn tags(&mut self, tags: &[(String, String)]) -> &mut Self {
        self.list("Tags", tags, |xml, (key, value)| {
            xml.text("Key", key).text("Value", value);
        })
    }
}
