//! Any text: every reader must answer, and what is read must be judged, without a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tresor_policy::{Context, Kind, Policy, Question, Requester, bucket_policy, identity_policy, key_policy, trust_policy};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut context = Context::default();
    context.set("aws:username", "a*").set("s3:prefix", "x/").set("aws:SourceIp", "10.0.0.1").set("n", "1.5");
    let who = Requester::of(Kind::User, "arn:aws:iam::111122223333:user/a", "111122223333");
    let question = Question { who, action: "s3:GetObject", resource: "arn:aws:s3:::b/k", context: &context };
    let read = [
        Policy::of_resource(text),
        Policy::of_identity(text),
        Policy::of_trust(text),
        bucket_policy(text, "b", |_| true),
        identity_policy(text),
        key_policy(text),
        trust_policy(text, |_| true),
    ];
    for policy in read.into_iter().flatten() {
        let judged = policy.judge(&question);
        std::hint::black_box((judged.deny.is_some(), policy.is_public()));
    }
});
