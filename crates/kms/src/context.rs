//! The encryption context in its canonical form, associated data of every KMS ciphertext.

/// Count and length-prefixed pairs, sorted by key: no two contexts share a form.
pub(crate) fn canonical(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut sorted: Vec<_> = pairs.to_vec();
    sorted.sort_unstable();
    let mut out = (sorted.len() as u32).to_be_bytes().to_vec();
    for text in sorted.into_iter().flat_map(|(key, value)| [key, value]) {
        out.extend_from_slice(&(text.len() as u32).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::canonical;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn different_contexts_have_different_forms(a in proptest::collection::btree_map("[ab=]{0,3}", "[ab=]{0,3}", 0..4), b in proptest::collection::btree_map("[ab=]{0,3}", "[ab=]{0,3}", 0..4)) {
            let form = |map: &std::collections::BTreeMap<String, String>| {
                canonical(&map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>())
            };
            prop_assert_eq!(form(&a) == form(&b), a == b);
        }
    }
}
