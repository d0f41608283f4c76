//! Who signed the policy of a POST form. The signature covers the policy's text as it was sent; what the policy says is not known
//! here. Source: S3 API reference, "Authenticating Requests in Browser-Based Uploads Using POST (AWS Signature Version 4)".

use super::{
    AuthError, AuthInfo, Authenticator, SigVersion, Via,
    v4::{ALGORITHM, Scope},
};
use crate::head::Head;
use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;
use tresor_model::{Caller, Timestamp};

/// The field that claims something, and how errors spell it.
const V4: [(&str, &str); 4] = [
    ("x-amz-algorithm", "X-Amz-Algorithm"),
    ("x-amz-credential", "X-Amz-Credential"),
    ("x-amz-date", "X-Amz-Date"),
    ("x-amz-signature", "X-Amz-Signature"),
];
const V2: [(&str, &str); 2] = [("awsaccesskeyid", "AWSAccessKeyId"), ("signature", "Signature")];

impl Authenticator {
    /// Who signed a form, by its fields: `field` gives one by its name in lower case. Nobody, if no field claims a signature. A request
    /// that is signed in its head must not come here. Errors: `AuthError`.
    pub fn form_caller<'a>(
        &self,
        head: &Head,
        field: &dyn Fn(&str) -> Option<&'a str>,
    ) -> Result<(Caller, AuthInfo), AuthError> {
        let claims = |fields: &[(&str, &str)]| fields.iter().any(|(name, _)| field(name).is_some());
        let required = |(name, shown): (&str, &'static str)| field(name).ok_or(AuthError::MissingFormField(shown));
        match (claims(&V4), claims(&V2)) {
            (false, false) => {
                let info = AuthInfo { version: SigVersion::None, via: Via::Nothing };
                Ok((Caller::anonymous(Some(head.source_ip), head.secure), info))
            }
            (true, true) => Err(AuthError::TwoMechanisms),
            (true, false) => {
                let [algorithm, credential, date, signature] =
                    [required(V4[0])?, required(V4[1])?, required(V4[2])?, required(V4[3])?];
                let policy = required(("policy", "Policy"))?;
                self.form_v4(head, (algorithm, credential, date, signature), policy, field("x-amz-security-token"))
            }
            (false, true) if !self.settings.sigv2 => Err(AuthError::UnsupportedMechanism),
            (false, true) => {
                let [key_id, signature] = [required(V2[0])?, required(V2[1])?];
                let policy = required(("policy", "Policy"))?;
                self.form_v2(head, key_id, signature, policy, field("x-amz-security-token"))
            }
        }
    }

    fn form_v4(
        &self,
        head: &Head,
        (algorithm, claimed, date, signature): (&str, &str, &str, &str),
        policy: &str,
        token: Option<&str>,
    ) -> Result<(Caller, AuthInfo), AuthError> {
        let wrong = |name: &'static str, value: &str, message: &str| AuthError::InvalidFormField {
            name,
            value: value.to_owned(),
            message: message.to_owned(),
        };
        if algorithm != ALGORITHM {
            return Err(wrong("X-Amz-Algorithm", algorithm, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
        }
        let scope = Scope::parse(claimed).ok_or_else(|| {
            wrong(
                "X-Amz-Credential",
                claimed,
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            )
        })?;
        if scope.service != "s3" {
            let message = format!("incorrect service \"{}\". This endpoint belongs to \"s3\".", scope.service);
            return Err(wrong("X-Amz-Credential", claimed, &message));
        }
        // How long a form may be used is the policy's to say.
        if Timestamp::parse_basic(date).is_none() {
            return Err(wrong("X-Amz-Date", date, "X-Amz-Date must be formated via ISO8601 Long format"));
        }
        let credential = self.signer_with(scope.access_key_id, token)?;
        let key = self.signing_key(&credential, &scope);
        if !key.made(signature, policy) {
            return Err(mismatch(scope.access_key_id, policy, signature));
        }
        self.keep_signing_key(&scope, &key);
        let info = AuthInfo { version: SigVersion::V4, via: Via::Form };
        Ok((credential.caller(scope.access_key_id, head.source_ip, head.secure), info))
    }

    fn form_v2(
        &self,
        head: &Head,
        key_id: &str,
        signature: &str,
        policy: &str,
        token: Option<&str>,
    ) -> Result<(Caller, AuthInfo), AuthError> {
        let credential = self.signer_with(key_id, token)?;
        let expected = tresor_digest::hmac_sha1(credential.secret.expose().as_bytes(), policy.as_bytes());
        let given = STANDARD.decode(signature).unwrap_or_default();
        if !bool::from(expected.ct_eq(&given[..])) {
            return Err(mismatch(key_id, policy, signature));
        }
        let info = AuthInfo { version: SigVersion::V2, via: Via::Form };
        Ok((credential.caller(key_id, head.source_ip, head.secure), info))
    }
}

/// S3 shows the policy as what was to be signed.
fn mismatch(access_key_id: &str, policy: &str, signature: &str) -> AuthError {
    AuthError::SignatureDoesNotMatch {
        access_key_id: access_key_id.to_owned(),
        string_to_sign: policy.to_owned(),
        provided: signature.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::v4::tests::{authenticator, head};
    use super::*;
    use http::Method;

    const POLICY: &str = "eyJleHBpcmF0aW9uIjogIjIwMTUtMTItMjlUMDE6MDA6MDBaIiwgImNvbmRpdGlvbnMiOiBbeyJidWNrZXQiOiAic2lndjRleGFtcGxlYnVja2V0In0sIHsia2V5IjogInVzZXIvdXNlcjEvcGhvdG8uanBnIn0sIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwgeyJ4LWFtei1jcmVkZW50aWFsIjogIkFLSUFJT1NGT0ROTjdFWEFNUExFLzIwMTUxMjI5L3VzLWVhc3QtMS9zMy9hd3M0X3JlcXVlc3QifSwgeyJ4LWFtei1kYXRlIjogIjIwMTUxMjI5VDAwMDAwMFoifV19";
    const SIGNED: [(&str, &str); 5] = [
        ("policy", POLICY),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"),
        ("x-amz-date", "20151229T000000Z"),
        ("x-amz-signature", "3364624b39010d9b06f5d9b8c9a18a6e478d261c048159c92f2fd6fa885f14e6"),
    ];

    /// What botocore signs with the credentials of AWS's examples.
    #[test]
    fn a_form_is_whose_key_signed_its_policy() {
        let head = head(Method::POST, "/", &[]);
        let judge = |fields: &[(&'static str, &'static str)]| {
            let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            authenticator("20151229T000100Z")
                .form_caller(&head, &field)
                .map(|(caller, info)| (caller.access_key_id, info.via))
        };
        assert_eq!(judge(&SIGNED), Ok((Some("AKIAIOSFODNN7EXAMPLE".into()), Via::Form)));
        assert_eq!(judge(&[("key", "k"), ("policy", POLICY)]), Ok((None, Via::Nothing)));
        let missing = SIGNED[1..].to_vec();
        assert_eq!(judge(&missing), Err(AuthError::MissingFormField("Policy")));
        assert_eq!(judge(&SIGNED[..4]), Err(AuthError::MissingFormField("X-Amz-Signature")));
        assert_eq!(judge(&[SIGNED[0], SIGNED[3], SIGNED[4]]), Err(AuthError::MissingFormField("X-Amz-Algorithm")));
        assert_eq!(judge(&[("signature", "x")]), Err(AuthError::MissingFormField("AWSAccessKeyId")));
        let changed =
            |name: &str, value: &'static str| SIGNED.map(|(n, v)| if n == name { (n, value) } else { (n, v) });
        assert!(matches!(judge(&changed("policy", "e30=")), Err(AuthError::SignatureDoesNotMatch { .. })));
        assert!(matches!(judge(&changed("x-amz-date", "today")), Err(AuthError::InvalidFormField { .. })));
        let unknown = changed("x-amz-credential", "AKIA/20151229/us-east-1/s3/aws4_request");
        assert_eq!(judge(&unknown), Err(AuthError::UnknownAccessKey("AKIA".into())));
        let other = changed("x-amz-credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/kms/aws4_request");
        assert!(matches!(judge(&other), Err(AuthError::InvalidFormField { .. })));
    }
}
