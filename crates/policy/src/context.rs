//! What a request says about itself: condition keys and their values.

/// Condition keys with one or more values, sorted by key. Key names do not depend on case; the keys of object tags do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context(Vec<(Box<str>, Values)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    One(String),
    Many(Vec<String>),
}

/// The form under which a key is looked up. Tags of AWS's own keys do not depend on case, those of objects do: IAM user guide,
/// "Controlling access during AWS requests"; KMS developer guide, "kms:EncryptionContext:context-key".
pub(crate) fn folded(key: &str) -> String {
    match key.split_once('/') {
        Some((name, tag)) if name.get(..3).is_some_and(|service| service.eq_ignore_ascii_case("s3:")) => {
            format!("{}/{tag}", name.to_ascii_lowercase())
        }
        _ => key.to_ascii_lowercase(),
    }
}

impl Context {
    /// Sets a key of one value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        self.put(key, Values::One(value.into()));
        self
    }
    /// Sets a key that AWS calls multivalued (`ArrayOf…` in the service authorization reference), whatever the number of its values; an
    /// empty list counts as absent.
    pub fn set_all(&mut self, key: &str, values: impl IntoIterator<Item = String>) -> &mut Self {
        let values: Vec<String> = values.into_iter().collect();
        if !values.is_empty() {
            self.put(key, Values::Many(values));
        }
        self
    }
    /// Sets every key that another context has; those win.
    pub fn extend(&mut self, other: &Self) -> &mut Self {
        for (key, values) in &other.0 {
            self.put(key, values.clone());
        }
        self
    }
    /// Takes a key away.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        if let Ok(at) = self.place(&folded(key)) {
            self.0.remove(at);
        }
        self
    }
    /// The values of a key, written in any case.
    pub fn values(&self, key: &str) -> Option<&[String]> {
        self.get(&folded(key))
    }
    /// Every key in its folded form, with its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(key, values)| (&**key, values.as_slice()))
    }

    fn put(&mut self, key: &str, values: Values) {
        let key = folded(key);
        match self.place(&key) {
            Ok(at) => self.0[at].1 = values,
            Err(at) => self.0.insert(at, (key.into(), values)),
        }
    }
    fn place(&self, folded: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(folded))
    }
    pub(crate) fn get(&self, folded: &str) -> Option<&[String]> {
        self.place(folded).ok().map(|at| self.0[at].1.as_slice())
    }
    /// Whether it is a key of many values, however many the request brought.
    pub(crate) fn is_multivalued(&self, folded: &str) -> bool {
        self.place(folded).is_ok_and(|at| matches!(self.0[at].1, Values::Many(_)))
    }
    /// The value of a key of one value: what a policy variable stands for. A multivalued key cannot be a variable, and an empty value
    /// is none. Source: IAM user guide, "Policy variables with no value".
    pub(crate) fn only(&self, folded: &str) -> Option<&str> {
        match self.place(folded).ok().map(|at| &self.0[at].1) {
            Some(Values::One(value)) if !value.is_empty() => Some(value),
            _ => None,
        }
    }
}

impl Values {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_depend_on_case_and_object_tags_do() {
        let mut context = Context::default();
        context
            .set("s3:ExistingObjectTag/Team", "a")
            .set("AWS:PrincipalTag/Team", "b")
            .set("kms:EncryptionContext:a/B", "c");
        context.set_all("aws:TagKeys", []).set("aws:gone", "x").remove("AWS:Gone");
        assert_eq!(context.values("S3:existingobjecttag/Team").map(<[String]>::len), Some(1));
        assert_eq!(context.values("s3:ExistingObjectTag/team"), None);
        assert!(
            context.values("aws:principaltag/TEAM").is_some() && context.values("KMS:encryptioncontext:A/b").is_some()
        );
        assert_eq!(
            (context.values("aws:TagKeys"), context.values("aws:gone"), context.iter().count()),
            (None, None, 3)
        );
    }
}
