//! The actions of S3, KMS, IAM and STS, what they apply to, and S3's condition keys. The facts stand in `actions.txt`.

use crate::{
    context::{Context, folded},
    pattern::{Allows, Pattern},
};
use std::sync::LazyLock;

/// What an action applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Bucket,
    Object,
    Key,
    Alias,
    /// Other kinds of resources, or none.
    Other,
}

/// An action: `s3:GetObject`.
#[derive(Debug)]
pub(crate) struct Action {
    pub name: String,
    pub target: Target,
}

/// A condition key of S3 in its folded form, without its tag.
struct Key {
    name: String,
    tagged: bool,
    /// `None` for all.
    actions: Option<Vec<String>>,
}

struct Table {
    actions: Vec<Action>,
    keys: Vec<Key>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table { actions: Vec::new(), keys: Vec::new() };
    let text = include_str!("actions.txt").replace("\n  ", " ");
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let Some((head, names)) = line.split_once(": ") else { continue };
        match head.split_once(' ') {
            Some((service, kind)) => {
                let target = match kind {
                    "bucket" => Target::Bucket,
                    "object" => Target::Object,
                    "key" => Target::Key,
                    "alias" => Target::Alias,
                    _ => Target::Other,
                };
                let action = |name: &str| Action { name: format!("{service}:{name}"), target };
                table.actions.extend(names.split(' ').map(action));
            }
            None => {
                let action = |name: &str| format!("s3:{name}");
                let actions = (names != "*").then(|| names.split(' ').map(action).collect());
                let name = head.trim_end_matches('/').to_owned();
                table.keys.push(Key { name, tagged: head.ends_with('/'), actions });
            }
        }
    }
    table
});

/// The known actions that a policy's pattern covers.
pub(crate) fn covered(pattern: &str) -> Vec<&'static Action> {
    let pattern = Pattern::compile(pattern, Allows { wildcards: true, variables: false });
    let none = Context::default();
    TABLE.actions.iter().filter(|action| pattern.matches(&action.name, &none, true) == Some(true)).collect()
}

/// An action as the service writes it, if there is one: written in any case.
pub fn known_action(name: &str) -> Option<&'static str> {
    TABLE.actions.iter().map(|action| action.name.as_str()).find(|known| known.eq_ignore_ascii_case(name))
}

/// Whether S3 has this condition key at all, and whether it comes with one of the actions. Keys of other services and of all
/// services are not S3's to judge.
pub(crate) fn key_fits(key: &str, actions: &[&Action]) -> bool {
    let key = folded(key);
    if !key.starts_with("s3:") {
        return true;
    }
    let (name, tag) = key.split_once('/').map_or((key.as_str(), ""), |(name, tag)| (name, tag));
    let known = TABLE.keys.iter().find(|known| known.name == name && known.tagged != tag.is_empty());
    known.is_some_and(|known| match &known.actions {
        None => true,
        Some(names) => actions.iter().any(|action| names.contains(&action.name)),
    })
}

/// Whether S3 has the condition key.
pub(crate) fn key_exists(key: &str) -> bool {
    let key = folded(key);
    let (name, tag) = key.split_once('/').map_or((key.as_str(), ""), |(name, tag)| (name, tag));
    !key.starts_with("s3:") || TABLE.keys.iter().any(|known| known.name == name && known.tagged != tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_is_known() {
        let names = |pattern: &str| covered(pattern).iter().map(|action| action.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names("S3:getobjectacl"), ["s3:GetObjectAcl"]);
        assert_eq!(names("s3:GetObjectT*"), ["s3:GetObjectTagging", "s3:GetObjectTorrent"]);
        assert!(names("invalid_action").is_empty() && names("s3:GetNothing*").is_empty());
        assert!(names("*").len() > 400 && names("sts:AssumeRole*").len() >= 3);
        assert_eq!(covered("kms:Decrypt")[0].target, Target::Key);
    }

    #[test]
    fn keys_come_with_some_actions() {
        for (key, pattern, fits) in [
            ("s3:prefix", "s3:ListBucket", true),
            ("S3:Prefix", "s3:*", true),
            ("s3:prefix", "s3:GetObject", false),
            ("s3:x-amz-server-side-encryption", "s3:PutObject", true),
            ("s3:ExistingObjectTag/a", "s3:GetObject", true),
            ("s3:ExistingObjectTag", "s3:GetObject", false),
            ("s3:TlsVersion", "s3:GetBucketAcl", true),
            ("s3:nothing", "s3:*", false),
            ("aws:SourceIp", "s3:GetObject", true),
        ] {
            assert_eq!(key_fits(key, &covered(pattern)), fits, "{key} {pattern}");
        }
    }
}
