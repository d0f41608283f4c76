//! What a request says about itself: condition keys and their values.

use std::collections::BTreeMap;

/// Condition keys with one or more values. Key names do not depend on case, except for what follows a `/` (a tag's key).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context(BTreeMap<String, Vec<String>>);

/// The form under which a key is looked up.
pub(crate) fn folded(key: &str) -> String {
    match key.split_once('/') {
        Some((name, tag)) => format!("{}/{tag}", name.to_ascii_lowercase()),
        None => key.to_ascii_lowercase(),
    }
}

impl Context {
    /// Sets a key of one value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        self.0.insert(folded(key), vec![value.into()]);
        self
    }
    /// Sets a key of many values; an empty list counts as absent.
    pub fn set_all(&mut self, key: &str, values: impl IntoIterator<Item = String>) -> &mut Self {
        let values: Vec<String> = values.into_iter().collect();
        if !values.is_empty() {
            self.0.insert(folded(key), values);
        }
        self
    }
    pub(crate) fn get(&self, folded: &str) -> Option<&[String]> {
        self.0.get(folded).map(Vec::as_slice)
    }
    /// The values of a key, by its name in any case; nothing when it is absent.
    pub fn values(&self, key: &str) -> Option<&[String]> {
        self.get(&folded(key))
    }
    /// A key's only value: what a policy variable stands for.
    pub(crate) fn only(&self, folded: &str) -> Option<&str> {
        match self.get(folded) {
            Some([one]) => Some(one),
            _ => None,
        }
    }
}
