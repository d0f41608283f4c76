use super::*;

const KEY: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
const ARN: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn asked<'a>(operation: &'a str, headers: Pairs<'a>) -> Asked<'a> {
    Asked {
        operation,
        headers,
        bucket: Some("vault"),
        object_key: Some("a/b"),
        account: Some("111122223333"),
        region: "us-east-1",
        ..Asked::default()
    }
}

fn key_of<'a>(derived: &'a Derived, key: &str) -> Option<&'a str> {
    only(&derived.context, key)
}

fn only<'a>(context: &'a Context, key: &str) -> Option<&'a str> {
    match context.values(key) {
        Some([one]) => Some(one),
        _ => None,
    }
}

const SSE_KEY: &str = "s3:x-amz-server-side-encryption";
const ID_KEY: &str = "s3:x-amz-server-side-encryption-aws-kms-key-id";

#[test]
fn the_algorithm_is_what_was_said_and_the_key_is_what_will_be_used() {
    let none = [];
    let defaults = Asked { default_encryption: Some(("aws:kms", Some(ARN))), ..asked("PutObject", &none) };
    let derived = derive(&defaults);
    assert_eq!((key_of(&derived, SSE_KEY), key_of(&derived, ID_KEY)), (None, Some(ARN)));
    let derived = derive(&Asked { default_encryption: Some(("AES256", None)), ..asked("PutObject", &none) });
    assert_eq!((key_of(&derived, SSE_KEY), key_of(&derived, ID_KEY)), (None, None));
    // A bare id becomes an ARN, and a header beats the default.
    let headers =
        pairs(&[("x-amz-server-side-encryption", "aws:kms"), ("x-amz-server-side-encryption-aws-kms-key-id", KEY)]);
    let derived =
        derive(&Asked { default_encryption: Some(("aws:kms", Some("other"))), ..asked("PutObject", &headers) });
    assert_eq!((key_of(&derived, SSE_KEY), key_of(&derived, ID_KEY)), (Some("aws:kms"), Some(ARN)));
    // Other algorithms than KMS have no key, whatever the default.
    for headers in [
        pairs(&[("x-amz-server-side-encryption", "AES256")]),
        pairs(&[("x-amz-server-side-encryption-customer-algorithm", "AES256")]),
    ] {
        let derived =
            derive(&Asked { default_encryption: Some(("aws:kms", Some(ARN))), ..asked("PutObject", &headers) });
        assert_eq!(key_of(&derived, ID_KEY), None);
    }
}

#[test]
fn parts_are_judged_with_their_upload() {
    let upload = pairs(&[
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", ARN),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-tagging", "a=b%20c"),
        ("x-amz-acl", "private"),
    ]);
    // A part's own header counts for nothing here.
    let headers = pairs(&[("x-amz-server-side-encryption", "AES256")]);
    for operation in ["UploadPart", "UploadPartCopy", "CompleteMultipartUpload"] {
        let derived = derive(&Asked { upload: Some(&upload), ..asked(operation, &headers) });
        assert_eq!(key_of(&derived, SSE_KEY), Some("aws:kms"));
        assert_eq!(key_of(&derived, ID_KEY), Some(ARN));
        assert_eq!(key_of(&derived, "s3:x-amz-storage-class"), Some("STANDARD_IA"));
        assert_eq!(key_of(&derived, "s3:RequestObjectTag/a"), Some("b c"));
        assert_eq!(key_of(&derived, "s3:x-amz-acl"), Some("private"));
        let creates = if operation == "CompleteMultipartUpload" { "true" } else { "false" };
        assert_eq!(key_of(&derived, "s3:ObjectCreationOperation"), Some(creates));
        assert!(derived.required.iter().any(|r| r.action == "kms:Decrypt" && r.resource == ARN));
    }
}

#[test]
fn forms_and_presigned_requests_say_it_elsewhere() {
    let header = pairs(&[("x-amz-server-side-encryption", "aws:kms")]);
    let form = pairs(&[("acl", "public-read"), ("X-Amz-Signature", "x")]);
    let derived = derive(&Asked { form: Some(&form), ..asked("PostObject", &header) });
    assert_eq!(key_of(&derived, SSE_KEY), None);
    assert_eq!(key_of(&derived, "s3:x-amz-acl"), Some("public-read"));
    assert_eq!(key_of(&derived, "s3:authType"), Some("POST"));
    assert!(derived.required.iter().any(|r| r.action == "s3:PutObjectAcl"));
    let query = pairs(&[("X-Amz-Signature", "x"), ("X-Amz-Server-Side-Encryption", "aws:kms")]);
    let derived = derive(&Asked { query: &query, ..asked("PutObject", &[]) });
    assert_eq!(key_of(&derived, SSE_KEY), Some("aws:kms"));
    assert_eq!(key_of(&derived, "s3:authType"), Some("REST-QUERY-STRING"));
    // Without a presigned signature a query parameter is no header.
    let derived = derive(&Asked { query: &query[1..], ..asked("PutObject", &[]) });
    assert_eq!(key_of(&derived, SSE_KEY), None);
}

#[test]
fn copies_need_their_source_and_do_not_inherit_its_encryption() {
    let headers = pairs(&[("x-amz-copy-source", "/other/k%20ey?versionId=null")]);
    let tags = pairs(&[("team", "red")]);
    let copy = Asked { source_tags: &tags, source_kms_key: Some(ARN), ..asked("CopyObject", &headers) };
    let derived = derive(&copy);
    let required: Vec<_> = derived.required.iter().map(|r| (r.action, r.resource.as_str())).collect();
    assert_eq!(
        required,
        [
            ("s3:PutObject", "arn:aws:s3:::vault/a/b"),
            ("s3:GetObjectVersion", "arn:aws:s3:::other/k ey"),
            ("s3:GetObjectVersionTagging", "arn:aws:s3:::other/k ey"),
            ("s3:PutObjectTagging", "arn:aws:s3:::vault/a/b"),
            ("kms:Decrypt", ARN),
        ]
    );
    assert_eq!(key_of(&derived, SSE_KEY), None);
    assert_eq!(key_of(&derived, "s3:x-amz-copy-source"), Some("other/k ey"));
    // The tags that are copied are those that the target is given.
    assert_eq!(key_of(&derived, "s3:RequestObjectTag/team"), Some("red"));
    assert_eq!(only(&derived.source, "s3:ExistingObjectTag/team"), Some("red"));
    assert_eq!(only(&derived.source, "s3:x-amz-copy-source"), None);
}

#[test]
fn a_listing_without_a_prefix_has_an_empty_one() {
    assert_eq!(key_of(&derive(&asked("ListObjectsV2", &[])), "s3:prefix"), Some(""));
    assert_eq!(key_of(&derive(&asked("HeadBucket", &[])), "s3:prefix"), None);
}

#[test]
fn tags_of_buckets_and_of_what_tags_them() {
    let (none, tags) = ([], pairs(&[("Team", "red"), ("tier", "1")]));
    let here = Asked { bucket_tags: &tags, ..asked("GetObject", &none) };
    let derived = derive(&here);
    for (key, value) in [
        ("s3:BucketTag/Team", Some("red")),
        ("s3:BucketTag/team", None),
        ("aws:ResourceTag/team", Some("red")),
        ("aws:RequestTag/Team", None),
    ] {
        assert_eq!(key_of(&derived, key), value, "{key}");
    }
    for operation in ["CreateBucket", "PutBucketTagging", "TagResource"] {
        let derived = derive(&Asked { document_tags: Some(&tags), ..asked(operation, &none) });
        assert_eq!(key_of(&derived, "aws:RequestTag/tier"), Some("1"), "{operation}");
        assert_eq!(derived.context.values("aws:TagKeys").map(<[String]>::len), Some(2));
    }
    // The tags of an object are told by S3's own keys alone.
    let derived = derive(&Asked { document_tags: Some(&tags), ..asked("PutObjectTagging", &none) });
    assert_eq!(
        (key_of(&derived, "aws:RequestTag/tier"), key_of(&derived, "s3:RequestObjectTag/tier")),
        (None, Some("1"))
    );
}
