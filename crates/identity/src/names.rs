//! Names, paths, tags and sizes, checked with AWS's texts.

use crate::{error::IdentityError, limits, records::Kind};

/// Errors: Validation.
pub(crate) fn check_name(name: &str, member: &str, max: usize) -> Result<(), IdentityError> {
    let chars = name.chars().count();
    if chars > max {
        return Err(IdentityError::Validation(format!(
            "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: Member must have length less than or equal to {max}"
        )));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(IdentityError::Validation(format!(
            "The specified value for {member} is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"
        )));
    }
    Ok(())
}

/// The member that names one of a kind: `userName`.
pub(crate) const fn name_member(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "userName",
        Kind::Group => "groupName",
        Kind::Role => "roleName",
    }
}

/// `/`, or printable characters between two of them; 512 at most. Errors: Validation.
pub(crate) fn check_path(path: &str) -> Result<(), IdentityError> {
    let printable = path.bytes().all(|b| (0x21..=0x7e).contains(&b));
    let whole = path == "/" || (path.len() > 2 && path.starts_with('/') && path.ends_with('/'));
    if whole && printable && path.len() <= 512 {
        Ok(())
    } else {
        Err(IdentityError::Validation(
            "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.".into(),
        ))
    }
}

/// Adds tags to those that are there. Keys do not depend on case. Errors: InvalidInput, LimitExceeded, Validation.
pub(crate) fn merge_tags(
    known: &mut Vec<(String, String)>,
    new: Vec<(String, String)>,
    max: usize,
) -> Result<(), IdentityError> {
    check_tags(&new)?;
    for (key, value) in new {
        match known.iter_mut().find(|(have, _)| have.eq_ignore_ascii_case(&key)) {
            Some(tag) => *tag = (key, value),
            None => known.push((key, value)),
        }
    }
    if known.len() > max {
        return Err(IdentityError::LimitExceeded(format!(
            "The number of tags has reached the maximum limit of {max}."
        )));
    }
    Ok(())
}

/// Errors: InvalidInput, Validation.
pub fn check_tags(tags: &[(String, String)]) -> Result<(), IdentityError> {
    let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
    for (n, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(IdentityError::Validation(format!(
                "1 validation error detected: Value '{key}' at 'tags.{}.member.key' failed to satisfy constraint: Member must have length less than or equal to 128",
                n + 1
            )));
        }
        if !key.chars().all(allowed) || !value.chars().all(allowed) {
            return Err(IdentityError::Validation(format!(
                "1 validation error detected: Value '{key}' at 'tags.{}.member.key' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\p{{L}}\\p{{Z}}\\p{{N}}_.:/=+\\-@]+",
                n + 1
            )));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(IdentityError::InvalidInput("Tag keys may not begin with aws:".into()));
        }
        if tags[..n].iter().any(|(other, _)| other.eq_ignore_ascii_case(key)) {
            return Err(IdentityError::InvalidInput(
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.".into(),
            ));
        }
    }
    if tags.len() > limits::TAGS {
        return Err(IdentityError::LimitExceeded(format!(
            "The number of tags has reached the maximum limit of {}.",
            limits::TAGS
        )));
    }
    Ok(())
}
