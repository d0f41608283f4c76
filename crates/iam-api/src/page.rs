//! Lists in pages: `MaxItems`, `Marker`, `IsTruncated`. A marker is the base64 of the last name that was listed.

use crate::{fault::Fault, fields::Fields, xml::Xml};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

pub(crate) struct Page {
    limit: usize,
    after: Option<String>,
}

impl Page {
    /// 100 entries, 1,000 at most. Errors: ValidationError, InvalidInput.
    pub(crate) fn read(fields: &mut Fields) -> Result<Self, Fault> {
        let limit = fields.number("MaxItems", 1..=1000)?.unwrap_or(100) as usize;
        let after = match fields.text("Marker", 1..=4096)? {
            None => None,
            Some(marker) => {
                let bytes = URL_SAFE_NO_PAD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                Some(bytes.ok_or_else(|| Fault::validation("Invalid Marker."))?)
            }
        };
        Ok(Self { limit, after })
    }

    /// The entries of one page, of a list that is sorted by their key, and what says whether more follow.
    pub(crate) fn split<'e, T>(&self, entries: &'e [T], key: impl Fn(&T) -> String) -> (&'e [T], Rest) {
        let start = match &self.after {
            Some(after) => entries.partition_point(|entry| key(entry) <= *after),
            None => 0,
        };
        let rest = &entries[start..];
        let page = &rest[..rest.len().min(self.limit)];
        let more = rest.len() > page.len();
        let marker = page.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(key(last)));
        (page, Rest(marker))
    }

    pub(crate) fn write<T>(
        &self,
        xml: &mut Xml,
        list: &str,
        entries: &[T],
        key: impl Fn(&T) -> String,
        show: impl Fn(&mut Xml, &T),
    ) {
        let (page, rest) = self.split(entries, key);
        xml.list(list, page, |xml, entry| show(xml, entry));
        rest.write(xml);
    }

    /// Of texts that are their own keys.
    pub(crate) fn write_texts(&self, xml: &mut Xml, list: &str, entries: &[&String]) {
        let (page, rest) = self.split(entries, |text| (*text).clone());
        xml.texts(list, page);
        rest.write(xml);
    }
}

/// Where the next page begins, if there is one.
pub(crate) struct Rest(Option<String>);

impl Rest {
    pub(crate) fn write(&self, xml: &mut Xml) {
        xml.text("IsTruncated", self.0.is_some()).maybe("Marker", self.0.as_ref());
    }
}
