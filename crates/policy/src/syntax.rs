//! The shape of a policy document before anything in it is judged. Source: IAM user guide, "Grammar of the IAM JSON policy language".

use crate::{document::MalformedPolicy, json::Json};

/// What is wrong, before it has words: S3 and IAM say it differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Empty, or not an object.
    NotAnObject,
    Json,
    /// A name that is not known, a value of another kind, two elements that exclude each other.
    Shape,
    NoStatement,
    EmptyStatement,
    Version,
    NoEffect,
    Effect(String),
    /// In AWS's words already.
    Said(MalformedPolicy),
}

impl Fault {
    /// As S3 words it, `PutBucketPolicy`.
    pub(crate) fn of_s3(self) -> MalformedPolicy {
        let text = match self {
            Self::NotAnObject => "Policies must be valid JSON and the first byte must be '{'",
            Self::Json => "This policy contains invalid Json",
            Self::Shape => "Policy has invalid syntax",
            Self::NoStatement => "Missing required field Statement",
            Self::EmptyStatement => "Could not parse the policy: Statement is empty!",
            Self::Version => "The policy must contain a valid version string",
            Self::NoEffect => "Missing required field Effect",
            Self::Effect(effect) => return MalformedPolicy(format!("Invalid effect: {effect}")),
            Self::Said(text) => return text,
        };
        MalformedPolicy(text.to_owned())
    }
    /// As IAM words it: a policy's shape is right or it is not.
    pub(crate) fn of_iam(self) -> MalformedPolicy {
        match self {
            Self::Said(text) => text,
            _ => MalformedPolicy::syntax(),
        }
    }
}

impl From<MalformedPolicy> for Fault {
    fn from(text: MalformedPolicy) -> Self {
        Self::Said(text)
    }
}

/// An element and whether it is the `Not…` form.
pub(crate) type Element<'j> = Option<(&'j Json, bool)>;

/// A document's parts.
#[derive(Debug)]
pub(crate) struct Document<'j> {
    pub version: Option<&'j str>,
    pub statements: Vec<Parts<'j>>,
}

/// A statement's parts.
#[derive(Debug, Default)]
pub(crate) struct Parts<'j> {
    pub sid: Option<&'j str>,
    pub allow: bool,
    pub principal: Element<'j>,
    pub action: Element<'j>,
    pub resource: Element<'j>,
    pub condition: Option<&'j Json>,
}

/// Statements of a document.
const MAX_STATEMENTS: usize = 1000;

/// Reads JSON in which no key stands twice. Errors: NotAnObject, Json.
pub(crate) fn json(text: &str) -> Result<Json, Fault> {
    if !text.trim_start().starts_with('{') {
        return Err(Fault::NotAnObject);
    }
    serde_json::from_str(text).map_err(|_| Fault::Json)
}

impl<'j> Document<'j> {
    pub(crate) fn read(json: &'j Json) -> Result<Self, Fault> {
        let (mut version, mut statements) = (None, None);
        for (name, value) in json.object().ok_or(Fault::Shape)? {
            match (name.as_str(), value) {
                ("Version", Json::Text(text)) => version = Some(text.as_str()),
                ("Version", _) => return Err(Fault::Version),
                ("Id", Json::Text(_)) => {}
                ("Statement", Json::List(_) | Json::Object(_)) => statements = Some(value.items()),
                _ => return Err(Fault::Shape),
            }
        }
        if version.is_some_and(|version| !matches!(version, "2012-10-17" | "2008-10-17")) {
            return Err(Fault::Version);
        }
        let statements = statements.ok_or(Fault::NoStatement)?;
        if statements.is_empty() {
            return Err(Fault::EmptyStatement);
        }
        if statements.len() > MAX_STATEMENTS {
            return Err(Fault::Shape);
        }
        let statements = statements.iter().map(Parts::read).collect::<Result<_, _>>()?;
        Ok(Self { version, statements })
    }

    /// Whether `${...}` is a variable: only in the version of 2012.
    pub(crate) fn variables(&self) -> bool {
        self.version == Some("2012-10-17")
    }
}

impl<'j> Parts<'j> {
    fn read(json: &'j Json) -> Result<Self, Fault> {
        let mut parts = Self::default();
        let mut effect = None;
        for (name, value) in json.object().ok_or(Fault::Shape)? {
            let negated = name.starts_with("Not");
            let once = |slot: &mut Element<'j>| match slot.replace((value, negated)) {
                Some(_) => Err(Fault::Shape),
                None => Ok(()),
            };
            match name.as_str() {
                "Sid" => parts.sid = Some(value.text().ok_or(Fault::Shape)?),
                "Effect" => effect = Some(value.text().ok_or(Fault::Shape)?),
                "Principal" | "NotPrincipal" => once(&mut parts.principal)?,
                "Action" | "NotAction" => once(&mut parts.action)?,
                "Resource" | "NotResource" => once(&mut parts.resource)?,
                "Condition" if value.object().is_some() => parts.condition = Some(value),
                _ => return Err(Fault::Shape),
            }
        }
        parts.allow = match effect {
            Some("Allow") => true,
            Some("Deny") => false,
            Some(other) => return Err(Fault::Effect(other.to_owned())),
            None => return Err(Fault::NoEffect),
        };
        for (list, _) in [parts.action, parts.resource].into_iter().flatten() {
            if list.items().iter().any(|item| item.text().is_none()) {
                return Err(Fault::Shape);
            }
        }
        Ok(parts)
    }

    /// The texts of an element that `read` has seen to be texts.
    pub(crate) fn texts(element: Element<'j>) -> impl Iterator<Item = &'j str> {
        element.into_iter().flat_map(|(list, _)| list.items()).filter_map(Json::text)
    }

    /// Every condition: operator, key, values.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&'j str, &'j str, &'j Json)> {
        let operators = self.condition.and_then(Json::object).unwrap_or_default();
        operators.iter().flat_map(|(operator, keys)| {
            let keys = keys.object().unwrap_or_default();
            keys.iter().map(move |(key, values)| (operator.as_str(), key.as_str(), values))
        })
    }
}
