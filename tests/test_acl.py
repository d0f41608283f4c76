"""Access control lists: what is asked for, what is shown, what is refused."""

import pytest
from botocore.exceptions import ClientError

from raw import request

OWNER = "1" * 64
ALL = "http://acs.amazonaws.com/groups/global/AllUsers"
NOT_SUPPORTED = (400, "AccessControlListNotSupported", "The bucket does not allow ACLs")


def told(call, **arguments):
    """Status, code and text of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def shown(answer):
    """Grants as (who, permission)."""
    return [(g["Grantee"].get("ID") or g["Grantee"].get("URI"), g["Permission"]) for g in answer["Grants"]]


def document(grants, owner=OWNER):
    """An AccessControlPolicy."""
    kinds = {"id": "CanonicalUser", "email": "AmazonCustomerByEmail", "uri": "Group"}
    names = {"id": "ID", "email": "EmailAddress", "uri": "URI"}
    listed = [
        {"Grantee": {"Type": kinds[kind], names[kind]: value}, "Permission": permission}
        for kind, value, permission in grants
    ]
    return {"Owner": {"ID": owner}, "Grants": listed}


def test_a_new_bucket_allows_no_lists(s3, bucket):
    names = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**names, Body=b"x", ACL="bucket-owner-full-control")
    s3.put_object(**names, Body=b"x", ACL="private")
    s3.put_object(**names, Body=b"x", GrantFullControl=f'id="{OWNER}"')
    for acl in ["public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read"]:
        assert told(s3.put_object, **names, Body=b"y", ACL=acl) == NOT_SUPPORTED
        assert told(s3.create_multipart_upload, **names, ACL=acl) == NOT_SUPPORTED
        assert told(s3.copy_object, **names, CopySource=names, MetadataDirective="REPLACE", ACL=acl) == NOT_SUPPORTED
    assert told(s3.put_object, **names, Body=b"y", GrantRead=f'uri="{ALL}"') == NOT_SUPPORTED
    for acl in ["private", "public-read"]:
        assert told(s3.put_bucket_acl, Bucket=bucket, ACL=acl) == NOT_SUPPORTED
        assert told(s3.put_object_acl, **names, ACL=acl) == NOT_SUPPORTED
    s3.put_object_acl(**names, ACL="bucket-owner-full-control")
    s3.put_object_acl(**names, AccessControlPolicy=document([("id", OWNER, "FULL_CONTROL")]))
    assert told(s3.put_object_acl, **names, AccessControlPolicy=document([("uri", ALL, "READ")])) == NOT_SUPPORTED
    for answer in [s3.get_bucket_acl(Bucket=bucket), s3.get_object_acl(**names)]:
        assert answer["Owner"]["ID"] == OWNER
        assert shown(answer) == [(OWNER, "FULL_CONTROL")]
    assert s3.get_object(**names)["Body"].read() == b"x"


def test_a_bucket_cannot_be_made_with_a_list(s3, bucket):
    refused = "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
    assert told(s3.create_bucket, Bucket=bucket + "-public", ACL="public-read") == (
        400, "InvalidBucketAclWithObjectOwnership", refused
    )
    assert told(s3.head_bucket, Bucket=bucket + "-public")[0] == 404
    s3.create_bucket(Bucket=bucket + "-private", ACL="private")


def test_requests_that_make_no_list(server, s3, bucket):
    """Recorded from AWS."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    path = f"/{bucket}/k?acl"
    full = f"<AccessControlPolicy><Owner><ID>{OWNER}</ID></Owner><AccessControlList/></AccessControlPolicy>".encode()

    def check(expected, body=b"", **headers):
        named = {f"x-amz-{name.replace('_', '-')}": value for name, value in headers.items()}
        for address in [path, f"/{bucket}?acl"]:
            assert request(server, "PUT", address, headers=named, body=body).told == expected, (headers, body)

    check((400, "MissingSecurityHeader", "Your request was missing a required header"))
    check(
        (400, "InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed"),
        acl="private", grant_read=f'id="{OWNER}"',
    )
    check((400, "UnexpectedContent", "This request does not support content"), body=full, acl="private")
    check((400, "InvalidArgument", None), acl="public")
    check((400, "InvalidArgument", "Argument format not recognized"), grant_read="name=x")
    check((400, "InvalidArgument", "Invalid group uri"), grant_read='uri="http://example.com"')
    check((400, "InvalidArgument", "Invalid id"), grant_read='id="nobody"')
    check(
        (400, "UnresolvableGrantByEmailAddress", "The e-mail address you provided does not match any account on record."),
        grant_write='emailAddress="a@example.com"',
    )
    malformed = "The XML you provided was not well-formed or did not validate against our published schema"
    for body in [b"x", b"<AccessControlPolicy/>", full.replace(b"ID>", b"Name>"), full.replace(b"<AccessControlList/>", b"")]:
        check((400, "MalformedACLError", malformed), body=body)
    check((403, "AccessDenied", "Access Denied"), body=full.replace(OWNER.encode(), b"4" * 64))
    assert request(server, "PUT", path, headers={"x-amz-acl": "bucket-owner-full-control"}, who="other").status == 403
    assert request(server, "GET", path, who=None).status == 403
