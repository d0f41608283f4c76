//! What a call tells its audit event while it is served: what it touched, and what of its answer may be shown. Must never hold a secret.

use parking_lot::Mutex;
use serde_json::Value;
use tresor_audit::AuditSpan;
use tresor_model::ChangeRecord;

/// Lends a span to an operation.
pub(crate) struct Telling<'a> {
    span: &'a AuditSpan,
    told: Mutex<Told>,
}

/// What the span is told when the operation has ended.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// CloudTrail's type, and the ARN.
    resources: Vec<(&'static str, String)>,
    answers: Vec<(&'static str, Value)>,
}

impl<'a> Telling<'a> {
    pub(crate) fn new(span: &'a AuditSpan) -> Self {
        Self { span, told: Mutex::default() }
    }

    /// Something of IAM that the call is about, once. A list of things, or everything, is nothing to name.
    pub(crate) fn touch(&self, arn: &str) {
        let Some(kind) = kind(arn) else { return };
        let mut told = self.told.lock();
        if !told.resources.iter().any(|(_, known)| known == arn) {
            told.resources.push((kind, arn.to_owned()));
        }
    }
    /// A member of `responseElements`, chosen by the operation.
    pub(crate) fn answer(&self, name: &'static str, value: Value) {
        self.told.lock().answers.push((name, value));
    }
    /// The record of the call's change, to be committed with it; nothing for a call that changes nothing.
    pub(crate) fn record(&self) -> Option<ChangeRecord> {
        let told = self.told.lock();
        if self.span.is_read_only() { None } else { self.span.change(&told.resources, &[]) }
    }
    pub(crate) fn into_told(self) -> Told {
        self.told.into_inner()
    }
}

impl Told {
    pub(crate) fn tell(self, span: &mut AuditSpan) {
        for (kind, arn) in self.resources {
            span.resource(kind, arn);
        }
        for (name, value) in self.answers {
            span.response(name, value);
        }
    }
}

/// The type that CloudTrail has for what an ARN of IAM names.
fn kind(arn: &str) -> Option<&'static str> {
    let resource = arn.strip_prefix("arn:aws:iam::")?.split_once(':')?.1;
    match resource.split_once('/')? {
        (_, "") => None,
        (_, name) if name.ends_with('/') || name.contains('*') => None,
        ("user", _) => Some("AWS::IAM::User"),
        ("group", _) => Some("AWS::IAM::Group"),
        ("role", _) => Some("AWS::IAM::Role"),
        ("policy", _) => Some("AWS::IAM::Policy"),
        ("oidc-provider", _) => Some("AWS::IAM::OIDCProvider"),
        _ => None,
    }
}
