//! Texts with `*`, `?` and variables, compiled once and matched without allocating. A variable's value is text and never a pattern.

use crate::context::{Context, folded};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Text(String),
    /// `?`: one character.
    One,
    /// A context key in its folded form, and what stands for it when it is absent.
    Variable(String, Option<String>),
}

/// What stands between two `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chunk(Vec<Token>);

/// One compiled text: chunks with a `*` between each two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    chunks: Vec<Chunk>,
    variables: bool,
}

/// What a policy's version and an element allow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allows {
    pub wildcards: bool,
    pub variables: bool,
}

/// Splits a text into tokens; `None` stands for a `*`.
fn tokens(text: &str, allows: Allows) -> Vec<Option<Token>> {
    let mut tokens = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    let flush = |plain: &mut String, tokens: &mut Vec<Option<Token>>| {
        if !plain.is_empty() {
            tokens.push(Some(Token::Text(std::mem::take(plain))));
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
                        Some((key, default)) => (key, Some(unquoted(default.trim()).to_owned())),
                        None => (inner, None),
                    };
                    tokens.push(Some(Token::Variable(folded(key.trim()), default)));
                }
            }
            rest = after;
            continue;
        }
        match c {
            '*' if allows.wildcards => {
                flush(&mut plain, &mut tokens);
                tokens.push(None);
            }
            '?' if allows.wildcards => {
                flush(&mut plain, &mut tokens);
                tokens.push(Some(Token::One));
            }
            _ => plain.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    flush(&mut plain, &mut tokens);
    tokens
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('\'').and_then(|tail| tail.strip_suffix('\'')).unwrap_or(text)
}

impl Pattern {
    pub(crate) fn compile(text: &str, allows: Allows) -> Self {
        Self::of(tokens(text, allows))
    }

    fn of(tokens: Vec<Option<Token>>) -> Self {
        let variables = tokens.iter().any(|token| matches!(token, Some(Token::Variable(..))));
        let mut chunks = vec![Chunk::default()];
        for token in tokens {
            let many = chunks.len() > 1;
            match (token, chunks.last_mut()) {
                (Some(token), Some(last)) => last.0.push(token),
                // Stars in a row are one.
                (None, Some(last)) if last.0.is_empty() && many => {}
                (_, _) => chunks.push(Chunk::default()),
            }
        }
        Self { chunks, variables }
    }

    /// Whether the text matches; `None` if a variable of the pattern has no value.
    pub(crate) fn matches(&self, text: &str, context: &Context, fold: bool) -> Option<bool> {
        if self.variables && !self.chunks.iter().all(|chunk| chunk.has_values(context)) {
            return None;
        }
        Some(self.found(text, context, fold).is_some())
    }

    fn found(&self, text: &str, context: &Context, fold: bool) -> Option<()> {
        let look = Look { context, fold };
        let (first, rest) = self.chunks.split_first()?;
        let text = look.after(first, text)?;
        let Some((last, middle)) = rest.split_last() else { return text.is_empty().then_some(()) };
        let length = last.characters(context);
        let cut = match length {
            0 => text.len(),
            n => text.char_indices().rev().nth(n - 1)?.0,
        };
        let (mut text, tail) = text.split_at(cut);
        for chunk in middle {
            text = look.find(chunk, text)?;
        }
        look.after(last, tail)?.is_empty().then_some(())
    }
}

impl Chunk {
    fn has_values(&self, context: &Context) -> bool {
        self.0.iter().all(|token| match token {
            Token::Variable(key, default) => default.is_some() || context.only(key).is_some(),
            Token::Text(_) | Token::One => true,
        })
    }
    fn characters(&self, context: &Context) -> usize {
        let one = |token: &Token| match token {
            Token::Text(text) => text.chars().count(),
            Token::One => 1,
            Token::Variable(key, default) => value(key, default, context).chars().count(),
        };
        self.0.iter().map(one).sum()
    }
}

fn value<'a>(key: &str, default: &'a Option<String>, context: &'a Context) -> &'a str {
    context.only(key).or(default.as_deref()).unwrap_or_default()
}

#[derive(Clone, Copy)]
struct Look<'a> {
    context: &'a Context,
    fold: bool,
}

impl Look<'_> {
    /// What is left of the text behind the chunk, if it begins with it.
    fn after<'t>(self, chunk: &Chunk, mut text: &'t str) -> Option<&'t str> {
        for token in &chunk.0 {
            text = match token {
                Token::One => &text[text.chars().next()?.len_utf8()..],
                Token::Text(wanted) => self.strip(text, wanted)?,
                Token::Variable(key, default) => self.strip(text, value(key, default, self.context))?,
            };
        }
        Some(text)
    }

    /// What is left of the text behind the first place where the chunk stands.
    fn find<'t>(self, chunk: &Chunk, text: &'t str) -> Option<&'t str> {
        if let ([Token::Text(wanted)], false) = (chunk.0.as_slice(), self.fold) {
            return text.find(wanted.as_str()).map(|at| &text[at + wanted.len()..]);
        }
        let ends = std::iter::once(text.len());
        text.char_indices().map(|(at, _)| at).chain(ends).find_map(|at| self.after(chunk, &text[at..]))
    }

    fn strip<'t>(self, text: &'t str, wanted: &str) -> Option<&'t str> {
        if !self.fold {
            return text.strip_prefix(wanted);
        }
        let mut rest = text.chars();
        for wanted in wanted.chars() {
            let found = rest.next()?;
            if !(found == wanted || lower(found) == lower(wanted)) {
                return None;
            }
        }
        Some(rest.as_str())
    }
}

fn lower(c: char) -> char {
    if c.is_ascii() { c.to_ascii_lowercase() } else { c.to_lowercase().next().unwrap_or(c) }
}

/// An ARN's pattern: six segments, each matched by itself, so that a `*` of one never reaches the next. The last one may hold colons.
#[derive(Clone, Debug)]
pub(crate) enum ArnPattern {
    Everything,
    Segments(Box<[Pattern; 6]>),
    /// Not six segments: matches the text as a whole.
    Whole(Pattern),
}

impl ArnPattern {
    pub(crate) fn compile(text: &str, variables: bool) -> Self {
        if text == "*" {
            return Self::Everything;
        }
        let tokens = tokens(text, Allows { wildcards: true, variables });
        match segments(&tokens) {
            Some(segments) => Self::Segments(Box::new(segments)),
            None => Self::Whole(Pattern::of(tokens)),
        }
    }

    pub(crate) fn matches(&self, arn: &str, context: &Context) -> Option<bool> {
        match self {
            Self::Everything => Some(true),
            Self::Whole(pattern) => pattern.matches(arn, context, false),
            Self::Segments(patterns) => {
                let mut parts = arn.splitn(6, ':');
                let mut all = true;
                for pattern in patterns.iter() {
                    match parts.next() {
                        Some(part) => all &= pattern.matches(part, context, false)?,
                        None => return Some(false),
                    }
                    // A variable without a value further on changes nothing: no match either way.
                    if !all {
                        return Some(false);
                    }
                }
                Some(all)
            }
        }
    }
}

/// Splits at the first five colons of plain text. `None` if there are fewer.
fn segments(tokens: &[Option<Token>]) -> Option<[Pattern; 6]> {
    let mut segments: Vec<Vec<Option<Token>>> = vec![Vec::new()];
    for token in tokens {
        let Some(Token::Text(text)) = token else {
            segments.last_mut()?.push(token.clone());
            continue;
        };
        let open = 7 - segments.len();
        for (n, piece) in text.splitn(open, ':').enumerate() {
            if n > 0 {
                segments.push(Vec::new());
            }
            if !piece.is_empty() {
                segments.last_mut()?.push(Some(Token::Text(piece.to_owned())));
            }
        }
    }
    segments.into_iter().map(Pattern::of).collect::<Vec<_>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::compile(text, Allows { wildcards: true, variables: true })
    }

    #[test]
    fn wildcards_match_and_values_of_variables_are_text() {
        let mut context = Context::default();
        context.set("aws:PrincipalTag/team", "*").set("aws:username", "bob");
        let yes = |p: &str, text: &str| pattern(p).matches(text, &context, false) == Some(true);
        assert!(yes("a*c?e", "abbbcde") && !yes("a*c?e", "abbbce") && yes("*", "") && yes("**a", "bba"));
        assert!(yes("a*b*c", "abc") && !yes("ab*ba", "aba") && yes("*?", "é") && yes("a*é?", "aéé") && !yes("", "x"));
        assert!(yes("home/${aws:UserName}/*", "home/bob/x") && !yes("home/${aws:username}/*", "home/eve/x"));
        assert!(!yes("v/${aws:PrincipalTag/team}/x", "v/red/x") && yes("v/${aws:PrincipalTag/team}/x", "v/*/x"));
        assert!(yes("*${aws:username}*", "a bobby") && yes("*${aws:username}", "bob"));
        assert!(yes("${*}x${$}", "*x$") && yes("${aws:none, 'd'}", "d") && yes("${aws:none, ''}", ""));
        assert_eq!(pattern("${aws:none}").matches("x", &context, false), None);
        context.set("aws:PrincipalTag/team", "");
        assert_eq!(pattern("${aws:PrincipalTag/team}").matches("", &context, false), None);
        assert_eq!(pattern("${aws:PrincipalTag/team, 'd'}").matches("d", &context, false), Some(true));
        assert_eq!(pattern("Ä?C").matches("äbc", &context, true), Some(true));
    }

    #[test]
    fn a_star_stays_in_its_segment_of_an_arn() {
        let context = Context::default();
        let yes = |p: &str, arn: &str| ArnPattern::compile(p, true).matches(arn, &context) == Some(true);
        assert!(yes("arn:aws:kms:*:111122223333:key/*", "arn:aws:kms:us-east-1:111122223333:key/a"));
        assert!(!yes("arn:aws:kms:*::*", "arn:aws:kms:us-east-1:111122223333:key/a"));
        assert!(yes("arn:aws:s3:::b/*", "arn:aws:s3:::b/a:b/c") && yes("arn:*:s3:::b/a:?/c", "arn:aws:s3:::b/a:b/c"));
    }

    /// The definition, written as plainly as can be.
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => matches(rest, text) || (!text.is_empty() && matches(pattern, &text[1..])),
            (Some(('?', rest)), Some((_, tail))) => matches(rest, tail),
            (Some((c, rest)), Some((d, tail))) if c == d => matches(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(text in "[abé]{0,8}", wanted in "[abé*?]{0,7}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = matches(&chars(&wanted), &chars(&text));
            prop_assert_eq!(pattern(&wanted).matches(&text, &Context::default(), false), Some(expected));
        }
    }
}
