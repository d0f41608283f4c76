//! Texts with `*`, `?` and variables, compiled once. A variable's value is text and never a pattern.

use crate::context::{Context, folded};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Text(String),
    Any,
    One,
    /// A context key in its folded form, and what stands for it when it is absent.
    Variable(String, Option<String>),
}

/// One compiled text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Token>);

/// What a policy's version and an element allow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allows {
    pub wildcards: bool,
    pub variables: bool,
}

impl Pattern {
    pub(crate) fn compile(text: &str, allows: Allows) -> Self {
        let mut tokens = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        let flush = |plain: &mut String, tokens: &mut Vec<Token>| {
            if !plain.is_empty() {
                tokens.push(Token::Text(std::mem::take(plain)));
            }
        };
        while let Some(c) = rest.chars().next() {
            if allows.variables
                && let Some((inner, after)) = rest.strip_prefix("${").and_then(|tail| tail.split_once('}'))
            {
                match inner {
                    "*" | "?" | "$" => plain.push_str(inner),
                    _ => {
                        flush(&mut plain, &mut tokens);
                        let (key, default) = match inner.split_once(',') {
                            Some((key, default)) => (key, Some(default.trim().trim_matches('\'').to_owned())),
                            None => (inner, None),
                        };
                        tokens.push(Token::Variable(folded(key.trim()), default));
                    }
                }
                rest = after;
                continue;
            }
            match c {
                '*' | '?' if allows.wildcards => {
                    flush(&mut plain, &mut tokens);
                    tokens.push(if c == '*' { Token::Any } else { Token::One });
                }
                _ => plain.push(c),
            }
            rest = &rest[c.len_utf8()..];
        }
        flush(&mut plain, &mut tokens);
        Self(tokens)
    }

    /// Splits at the first five colons of plain text: the segments of an ARN. `None` if there are fewer.
    fn segments(&self) -> Option<Vec<Self>> {
        let mut segments = vec![Vec::new()];
        for token in &self.0 {
            let last = segments.len() - 1;
            match token {
                Token::Text(text) => {
                    let missing = 6 - segments.len();
                    for (n, piece) in text.splitn(missing + 1, ':').enumerate() {
                        if n > 0 {
                            segments.push(Vec::new());
                        }
                        if !piece.is_empty() {
                            segments.last_mut()?.push(Token::Text(piece.to_owned()));
                        }
                    }
                }
                other => segments[last].push(other.clone()),
            }
        }
        (segments.len() == 6).then(|| segments.into_iter().map(Self).collect())
    }

    /// Whether the text matches; `None` if a variable of the pattern has no value.
    pub(crate) fn matches(&self, text: &str, context: &Context, fold: bool) -> Option<bool> {
        let mut steps = Vec::with_capacity(self.0.len());
        for token in &self.0 {
            match token {
                Token::Any => steps.push(Step::Any),
                Token::One => steps.push(Step::One),
                Token::Text(text) => steps.extend(text.chars().map(|c| Step::Char(lower(c, fold)))),
                Token::Variable(key, default) => {
                    let value = context.only(key).or(default.as_deref())?;
                    steps.extend(value.chars().map(|c| Step::Char(lower(c, fold))));
                }
            }
        }
        let text: Vec<char> = text.chars().map(|c| lower(c, fold)).collect();
        Some(glob(&steps, &text))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Any,
    One,
    Char(char),
}

fn lower(c: char, fold: bool) -> char {
    if fold { c.to_lowercase().next().unwrap_or(c) } else { c }
}

/// Linear but for one level of return: to the last `*`.
fn glob(steps: &[Step], text: &[char]) -> bool {
    let (mut s, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match steps.get(s) {
            Some(Step::Any) => {
                retry = Some((s + 1, t));
                s += 1;
            }
            Some(Step::One) => (s, t) = (s + 1, t + 1),
            Some(Step::Char(c)) if *c == text[t] => (s, t) = (s + 1, t + 1),
            _ => match retry {
                Some((step, at)) => {
                    retry = Some((step, at + 1));
                    (s, t) = (step, at + 1);
                }
                None => return false,
            },
        }
    }
    steps[s..].iter().all(|step| *step == Step::Any)
}

/// An ARN's pattern: six segments, each matched by itself, so that a `*` of one never reaches the next. The last one may hold colons.
#[derive(Clone, Debug)]
pub(crate) enum ArnPattern {
    Everything,
    Segments(Vec<Pattern>),
    /// Not six segments: matches the text as a whole.
    Whole(Pattern),
}

impl ArnPattern {
    pub(crate) fn compile(text: &str, variables: bool) -> Self {
        if text == "*" {
            return Self::Everything;
        }
        let pattern = Pattern::compile(text, Allows { wildcards: true, variables });
        match pattern.segments() {
            Some(segments) => Self::Segments(segments),
            None => Self::Whole(pattern),
        }
    }

    pub(crate) fn matches(&self, arn: &str, context: &Context) -> Option<bool> {
        match self {
            Self::Everything => Some(true),
            Self::Whole(pattern) => pattern.matches(arn, context, false),
            Self::Segments(patterns) => {
                let parts: Vec<&str> = arn.splitn(6, ':').collect();
                if parts.len() != 6 {
                    return Some(false);
                }
                let mut all = true;
                for (pattern, part) in patterns.iter().zip(parts) {
                    all &= pattern.matches(part, context, false)?;
                }
                Some(all)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::compile(text, Allows { wildcards: true, variables: true })
    }

    #[test]
    fn wildcards_match_and_values_of_variables_are_text() {
        let mut context = Context::default();
        context.set("aws:PrincipalTag/team", "*").set("aws:username", "bob");
        let yes = |p: &str, text: &str| pattern(p).matches(text, &context, false) == Some(true);
        assert!(yes("a*c?e", "abbbcde") && !yes("a*c?e", "abbbce") && yes("*", "") && yes("**a", "bba"));
        assert!(yes("home/${aws:UserName}/*", "home/bob/x") && !yes("home/${aws:username}/*", "home/eve/x"));
        assert!(!yes("v/${aws:PrincipalTag/team}/x", "v/red/x") && yes("v/${aws:PrincipalTag/team}/x", "v/*/x"));
        assert!(yes("${*}x${$}", "*x$") && yes("${aws:none, 'd'}", "d"));
        assert_eq!(pattern("${aws:none}").matches("x", &context, false), None);
    }

    #[test]
    fn a_star_stays_in_its_segment_of_an_arn() {
        let context = Context::default();
        let yes = |p: &str, arn: &str| ArnPattern::compile(p, true).matches(arn, &context) == Some(true);
        assert!(yes("arn:aws:kms:*:111122223333:key/*", "arn:aws:kms:us-east-1:111122223333:key/a"));
        assert!(!yes("arn:aws:kms:*::*", "arn:aws:kms:us-east-1:111122223333:key/a"));
        assert!(yes("arn:aws:s3:::b/*", "arn:aws:s3:::b/a:b/c"));
    }
}
