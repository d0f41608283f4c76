//! Lists in pages: `Limit`, `Marker`, `NextMarker`, `Truncated`. A marker is the base64 of the
//! operation that gave it and the last name that was listed: no other operation takes it.

use crate::{fault::Fault, fields::Fields, table::Input};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tresor_kms::KmsError;

pub(crate) struct Page {
    /// What markers of this operation begin with.
    list: String,
    limit: usize,
    after: Option<String>,
}

impl Page {
    /// `default` and `most` entries a page. Errors: InvalidMarkerException.
    pub(crate) fn read(input: &Input<'_>, fields: &mut Fields, default: u32, most: u32) -> Result<Self, Fault> {
        let list = format!("m2/{}/", input.name);
        let limit = fields.number("Limit", 1..=most)?.unwrap_or(default) as usize;
        let after = match fields.text("Marker", 1..=1024)? {
            None => None,
            Some(marker) => {
                let bytes = URL_SAFE_NO_PAD.decode(marker).map_err(|_| KmsError::InvalidMarker)?;
                let name = bytes.strip_prefix(list.as_bytes()).ok_or(KmsError::InvalidMarker)?;
                Some(String::from_utf8(name.to_vec()).map_err(|_| KmsError::InvalidMarker)?)
            }
        };
        Ok(Self { list, limit, after })
    }

    /// One page of entries that are sorted by name.
    pub(crate) fn of<T>(
        &self,
        member: &str,
        entries: &[T],
        name: impl Fn(&T) -> &str,
        show: impl Fn(&T) -> Value,
    ) -> Value {
        let start = match &self.after {
            Some(after) => entries.partition_point(|entry| name(entry) <= after.as_str()),
            None => 0,
        };
        let rest = &entries[start..];
        let page = &rest[..rest.len().min(self.limit)];
        let mut answer = json!({ "Truncated": rest.len() > page.len() });
        answer[member] = page.iter().map(&show).collect();
        if rest.len() > page.len()
            && let Some(last) = page.last()
        {
            answer["NextMarker"] = URL_SAFE_NO_PAD.encode(format!("{}{}", self.list, name(last))).into();
        }
        answer
    }
}
