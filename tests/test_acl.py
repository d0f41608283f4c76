"""Access control lists: what is asked for, shown and refused, whom lists let in, and who owns what is written."""

import json

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from harness import ACCOUNTS, REGION
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


# Whom lists let in.

SIGNED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
MAIN_ID, OTHER_ID = ACCOUNTS["main"][0], ACCOUNTS["other"][0]
CAROL = f"arn:aws:iam::{MAIN_ID}:user/carol"
DENIED = (403, "AccessDenied", "Access Denied")


@pytest.fixture(scope="module")
def who(server):
    """Clients by name; `nobody` signs nothing. Users of both accounts without a policy: carol and dave."""
    unsigned = Config(signature_version=UNSIGNED, s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    nobody = boto3.client("s3", endpoint_url=server.endpoints["http"], region_name=REGION, config=unsigned)
    return {name: server.client(name) for name in ("main", "alice", "carol", "other", "dave")} | {"nobody": nobody}


@pytest.fixture(scope="module")
def other_id(who):
    """The canonical id of the other account."""
    return who["other"].list_buckets()["Owner"]["ID"]


def own(s3, bucket, ownership):
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": ownership}]})


def switches(s3, bucket, **on):
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=on)


@pytest.fixture
def legacy(s3, bucket):
    """A bucket where lists count, objects are their writers' and nothing is blocked."""
    s3.delete_public_access_block(Bucket=bucket)
    own(s3, bucket, "ObjectWriter")
    return bucket


def policy(s3, bucket, *statements):
    arn = f"arn:aws:s3:::{bucket}"
    made = [{"Effect": "Allow", "Principal": "*", "Resource": [arn, f"{arn}/*"]} | statement for statement in statements]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": made}))


def let_in(who, call, *names, **arguments):
    """Exactly these may, of everybody but the bucket's root and alice, whose own policies suffice."""
    found = []
    for name in ("carol", "other", "dave", "nobody"):
        try:
            getattr(who[name], call)(**arguments)
            found.append(name)
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403, (name, error)
    assert found == list(names), (call, found)


def test_lists_of_objects(who, s3, legacy, other_id):
    key = {"Bucket": legacy, "Key": "k"}

    def check(*readers, **lists):
        s3.put_object(**key, Body=b"x", **lists)
        for call in ("get_object", "head_object"):
            let_in(who, call, *readers, **key)
        for call, more in [("put_object_acl", {"ACL": "private"}), ("delete_object", {}), ("get_object_tagging", {})]:
            let_in(who, call, **key, **more)
        # The bucket's own account needs no list.
        assert s3.get_object(**key)["Body"].read() == who["alice"].get_object(**key)["Body"].read() == b"x"

    check()
    check(ACL="private")
    # A user of another account needs his account's permission whatever a list says.
    check("carol", "other", "nobody", ACL="public-read")
    check("carol", "other", "nobody", GrantRead=f'uri="{ALL}"')
    check("carol", "other", ACL="authenticated-read")
    check("other", GrantRead=f'id="{other_id}"')
    check(GrantReadACP=f'id="{other_id}"')
    check(GrantRead='uri="http://acs.amazonaws.com/groups/s3/LogDelivery"')
    check(ACL="aws-exec-read")
    # A list that is put later counts as well, for the version that the null id names too.
    s3.put_object_acl(**key, ACL="public-read")
    let_in(who, "get_object", "carol", "other", "nobody", **key)
    let_in(who, "get_object", "carol", "other", "nobody", **key, VersionId="null")
    s3.put_object_acl(**key, ACL="private")
    let_in(who, "get_object", **key)


def test_permissions_to_lists(who, s3, legacy, other_id):
    key, other = {"Bucket": legacy, "Key": "k"}, who["other"]
    s3.put_object(**key, Body=b"x", GrantReadACP=f'id="{other_id}"')
    let_in(who, "get_object_acl", "other", **key)
    assert told(other.put_object_acl, **key, ACL="private") == DENIED
    s3.put_object(**key, Body=b"x", GrantWriteACP=f'id="{other_id}"')
    assert told(other.get_object_acl, **key) == DENIED
    # Whoever writes the list can let himself in; the owner stays who he was.
    other.put_object_acl(**key, GrantFullControl=f'id="{other_id}"')
    assert other.get_object(**key)["Body"].read() == b"x"
    assert other.get_object_acl(**key)["Owner"]["ID"] == OWNER
    s3.put_bucket_acl(Bucket=legacy, GrantReadACP=f'id="{other_id}"')
    let_in(who, "get_bucket_acl", "other", Bucket=legacy)
    assert told(other.put_bucket_acl, Bucket=legacy, ACL="public-read") == DENIED
    s3.put_bucket_acl(Bucket=legacy, GrantWriteACP=f'id="{other_id}"')
    other.put_bucket_acl(Bucket=legacy, ACL="public-read")
    let_in(who, "list_objects_v2", "carol", "other", "nobody", Bucket=legacy)
    # The owner of a bucket or an object can always change its list.
    assert told(other.put_bucket_acl, Bucket=legacy, ACL="private") == DENIED
    s3.put_bucket_acl(Bucket=legacy, AccessControlPolicy=document([]))
    assert shown(s3.get_bucket_acl(Bucket=legacy)) == []


def test_lists_of_buckets(who, s3, legacy, other_id):
    bucket, nobody, other = {"Bucket": legacy}, who["nobody"], who["other"]
    missing = {"Bucket": legacy, "Key": "missing"}
    for call in ("list_objects_v2", "list_objects", "list_object_versions", "list_multipart_uploads", "head_bucket"):
        let_in(who, call, **bucket)
    assert told(nobody.get_object, **missing) == DENIED
    s3.put_bucket_acl(**bucket, ACL="public-read")
    for call in ("list_objects_v2", "list_objects", "list_object_versions", "list_multipart_uploads", "head_bucket"):
        let_in(who, call, "carol", "other", "nobody", **bucket)
    # Who may list may know that nothing is there, and nothing else.
    assert told(nobody.get_object, **missing)[:2] == (404, "NoSuchKey")
    assert told(nobody.head_object, **missing)[0] == 404
    assert told(who["dave"].get_object, **missing) == DENIED
    s3.put_object(Bucket=legacy, Key="k", Body=b"x")
    assert told(nobody.get_object, Bucket=legacy, Key="k") == DENIED
    assert told(nobody.put_object, Bucket=legacy, Key="k", Body=b"y") == DENIED
    for call in ("delete_bucket", "get_bucket_location", "get_bucket_policy_status", "get_bucket_acl"):
        assert told(getattr(other, call), **bucket)[0] == 403, call
    s3.put_bucket_acl(**bucket, GrantWrite=f'id="{other_id}"')
    let_in(who, "put_object", "other", Bucket=legacy, Key="new", Body=b"y")
    let_in(who, "list_objects_v2", **bucket)
    let_in(who, "put_object", Bucket=legacy, Key="new", Body=b"y", Tagging="a=b")
    other.delete_object(Bucket=legacy, Key="new")
    assert told(other.delete_object, Bucket=legacy, Key="k", VersionId="null") == DENIED
    s3.put_bucket_acl(**bucket, ACL="public-read-write")
    nobody.put_object(Bucket=legacy, Key="anonymous", Body=b"z")
    # What nobody signed for is the bucket owner's.
    assert s3.get_object(Bucket=legacy, Key="anonymous")["Body"].read() == b"z"
    assert told(nobody.get_object, Bucket=legacy, Key="anonymous") == DENIED
    nobody.delete_object(Bucket=legacy, Key="anonymous")


def test_a_deny_beats_a_list(who, s3, legacy, other_id):
    key = {"Bucket": legacy, "Key": "k"}
    s3.put_object(**key, Body=b"x", ACL="public-read")
    policy(s3, legacy, {"Effect": "Deny", "Principal": {"AWS": OTHER_ID}, "Action": "s3:GetObject"})
    let_in(who, "get_object", "carol", "nobody", **key)
    policy(s3, legacy, {"Effect": "Deny", "Action": "s3:GetObject"})
    let_in(who, "get_object", **key)
    policy(s3, legacy, {"Effect": "Deny", "Action": "s3:PutObject", "Condition": {"StringEquals": {"s3:x-amz-acl": "public-read"}}})
    assert told(s3.put_object, **key, ACL="public-read")[:2] == (403, "AccessDenied")
    s3.put_object(**key, Body=b"x", ACL="authenticated-read")
    let_in(who, "get_object", "carol", "other", **key)


def test_the_switches_of_public_access(who, s3, legacy, other_id):
    public, named = {"Bucket": legacy, "Key": "public"}, {"Bucket": legacy, "Key": "named"}
    s3.put_object(**public, Body=b"x", ACL="public-read")
    s3.put_object(**named, Body=b"x", GrantRead=f'id="{other_id}", uri="{SIGNED}"')
    s3.put_bucket_acl(Bucket=legacy, ACL="public-read")
    switches(s3, legacy, BlockPublicAcls=True)
    # What is there counts; nothing new is taken.
    let_in(who, "get_object", "carol", "other", "nobody", **public)
    assert told(s3.put_object, **public, ACL="public-read") == DENIED
    assert told(s3.put_object, **public, GrantRead=f'uri="{SIGNED}"') == DENIED
    assert told(s3.put_object_acl, **public, ACL="authenticated-read") == DENIED
    assert told(s3.put_bucket_acl, Bucket=legacy, ACL="public-read-write") == DENIED
    s3.put_object_acl(**named, GrantRead=f'id="{other_id}"')
    switches(s3, legacy, IgnorePublicAcls=True)
    let_in(who, "get_object", **public)
    let_in(who, "list_objects_v2", Bucket=legacy)
    let_in(who, "get_object", "other", **named)
    # They may still be put, and count again when the switch is off.
    s3.put_object_acl(**named, ACL="authenticated-read")
    let_in(who, "get_object", **named)
    switches(s3, legacy, RestrictPublicBuckets=True)
    # It is about policies: a public one keeps out everybody who is not of the account, whatever lists say.
    let_in(who, "get_object", "carol", "other", "nobody", **public)
    policy(s3, legacy, {"Action": "s3:GetObjectTagging"})
    let_in(who, "get_object", "carol", **public)
    s3.delete_bucket_policy(Bucket=legacy)
    s3.delete_public_access_block(Bucket=legacy)
    let_in(who, "get_object", "carol", "other", **named)


def test_a_bucket_that_enforces_its_owner_knows_no_lists(who, s3, legacy, other_id):
    key = {"Bucket": legacy, "Key": "k"}
    s3.put_object(**key, Body=b"x", ACL="public-read")
    let_in(who, "get_object", "carol", "other", "nobody", **key)
    own(s3, legacy, "BucketOwnerEnforced")
    let_in(who, "get_object", **key)
    assert shown(s3.get_object_acl(**key)) == [(OWNER, "FULL_CONTROL")]
    own(s3, legacy, "BucketOwnerPreferred")
    let_in(who, "get_object", "carol", "other", "nobody", **key)
    s3.put_bucket_acl(Bucket=legacy, ACL="public-read")
    refused = "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
    assert told(own, s3=s3, bucket=legacy, ownership="BucketOwnerEnforced") == (400, "InvalidBucketAclWithObjectOwnership", refused)


# Who owns what is written.


def test_an_object_belongs_to_its_writer(who, s3, legacy, other_id):
    other, alice = who["other"], who["alice"]
    key = {"Bucket": legacy, "Key": "theirs"}
    s3.put_bucket_acl(Bucket=legacy, GrantWrite=f'id="{other_id}"')
    # The bucket's policy lets all users of the account do everything.
    policy(s3, legacy, {"Principal": {"AWS": CAROL}, "Action": "s3:*"})
    other.put_object(**key, Body=b"x")
    assert other.get_object(**key)["Body"].read() == b"x"
    assert other.get_object_acl(**key)["Owner"]["ID"] == other_id
    for name in ("main", "alice", "carol"):
        client = who[name]
        for call, more in [("get_object", {}), ("get_object_acl", {}), ("put_object_acl", {"ACL": "private"})]:
            assert told(getattr(client, call), **key, **more) == DENIED, (name, call)
        assert told(client.head_object, **key)[0] == 403
        assert told(client.copy_object, Bucket=legacy, Key="copy", CopySource=key) == DENIED
        assert [entry["Key"] for entry in client.list_objects_v2(Bucket=legacy)["Contents"]] == ["theirs"]
    # dave's account owns the object, and has not let him in; nobody else's policy can.
    policy(s3, legacy, {"Principal": {"AWS": f"arn:aws:iam::{OTHER_ID}:user/dave"}, "Action": "s3:GetObject"})
    let_in(who, "get_object", "other", **key)
    # A deny of the bucket's policy binds the object's owner as well.
    policy(s3, legacy, {"Effect": "Deny", "Action": "s3:GetObject"})
    let_in(who, "get_object", **key)
    s3.delete_bucket_policy(Bucket=legacy)
    # Lists are the way to the bucket's owner; his users need their own policies too.
    other.put_object_acl(**key, ACL="bucket-owner-read")
    assert s3.get_object(**key)["Body"].read() == alice.get_object(**key)["Body"].read() == b"x"
    let_in(who, "get_object", "other", **key)
    s3.copy_object(Bucket=legacy, Key="copy", CopySource=key)
    assert s3.get_object_acl(Bucket=legacy, Key="copy")["Owner"]["ID"] == OWNER
    assert told(s3.get_object_acl, **key) == DENIED
    other.put_object_acl(**key, ACL="bucket-owner-full-control")
    s3.put_object_acl(**key, ACL="public-read")
    # dave is a user of the account that owns it; carol is of another one, which must let her.
    let_in(who, "get_object", "other", "dave", "nobody", **key)
    # The owner of the bucket may always delete.
    other.put_object_acl(**key, ACL="private")
    assert told(s3.get_object, **key) == DENIED
    s3.delete_object(**key)
    assert told(s3.get_object, **key)[:2] == (404, "NoSuchKey")


def test_ownership_that_is_given_to_the_bucket(who, s3, legacy, other_id):
    other = who["other"]
    policy(s3, legacy, {"Principal": {"AWS": OTHER_ID}, "Action": ["s3:PutObject", "s3:PutObjectAcl", "s3:GetObject"]})
    given, kept = {"Bucket": legacy, "Key": "given"}, {"Bucket": legacy, "Key": "kept"}

    def write():
        other.put_object(**given, Body=b"x", ACL="bucket-owner-full-control")
        other.put_object(**kept, Body=b"x")

    write()
    assert s3.get_object_acl(**given)["Owner"]["ID"] == other_id
    own(s3, legacy, "BucketOwnerPreferred")
    write()
    assert s3.get_object_acl(**given)["Owner"]["ID"] == OWNER
    assert other.get_object(**given)["Body"].read() == b"x"
    assert told(s3.get_object, **kept) == DENIED
    upload = other.create_multipart_upload(**kept)["UploadId"]
    part = other.upload_part(**kept, UploadId=upload, PartNumber=1, Body=b"y")
    assert told(other.put_bucket_ownership_controls, Bucket=legacy, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}) == DENIED
    other.complete_multipart_upload(**kept, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert other.get_object(**kept)["Body"].read() == b"y"
    assert told(s3.get_object, **kept) == DENIED
    # From now on everything in it is the bucket owner's, also what was written before.
    own(s3, legacy, "BucketOwnerEnforced")
    assert s3.get_object(**kept)["Body"].read() == b"y"
    assert s3.get_object_acl(**kept)["Owner"]["ID"] == OWNER
    write()
    # Private to another account is not the bucket owner's.
    assert told(other.put_object, **kept, ACL="private") == NOT_SUPPORTED
    policy(s3, legacy, {"Principal": {"AWS": CAROL}, "Action": "s3:GetObject"})
    let_in(who, "get_object", "carol", **kept)


def test_the_list_of_an_upload_is_its_writers_business(who, s3, legacy, other_id):
    """AWS's own examples of buckets that demand full control for their owner allow s3:PutObject alone."""
    other, key = who["other"], {"Bucket": legacy, "Key": "k"}
    wanted = f"id={OWNER}"
    policy(s3, legacy, {"Principal": {"AWS": OTHER_ID}, "Action": "s3:PutObject", "Condition": {"StringEquals": {"s3:x-amz-grant-full-control": wanted}}})
    assert told(other.put_object, **key, Body=b"x") == DENIED
    other.put_object(**key, Body=b"x", GrantFullControl=wanted)
    assert shown(s3.get_object_acl(**key)) == [(OWNER, "FULL_CONTROL")]
    assert s3.get_object_acl(**key)["Owner"]["ID"] == other_id
    policy(s3, legacy, {"Principal": {"AWS": OTHER_ID}, "Action": "s3:PutObject", "Condition": {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}})
    assert told(other.put_object, **key, Body=b"x", ACL="public-read") == DENIED
    for ownership, owner in [("ObjectWriter", other_id), ("BucketOwnerPreferred", OWNER), ("BucketOwnerEnforced", OWNER)]:
        own(s3, legacy, ownership)
        other.put_object(**key, Body=b"x", ACL="bucket-owner-full-control")
        assert s3.get_object_acl(**key)["Owner"]["ID"] == owner
    # A deny counts, and so does what the writer's own account says.
    own(s3, legacy, "ObjectWriter")
    policy(
        s3, legacy, {"Principal": {"AWS": OTHER_ID}, "Action": "s3:PutObject"},
        {"Effect": "Deny", "Action": "s3:PutObjectAcl", "Condition": {"StringNotEquals": {"s3:x-amz-acl": "private"}}},
    )
    other.put_object(**key, Body=b"x", ACL="private")
    assert told(other.put_object, **key, Body=b"x", ACL="public-read") == DENIED
    # Once it is there, the list of the object decides.
    assert told(s3.get_object, **key) == DENIED


def test_making_a_bucket_again_resets_its_list(who, s3, legacy):
    s3.put_bucket_acl(Bucket=legacy, ACL="public-read")
    let_in(who, "list_objects_v2", "carol", "other", "nobody", Bucket=legacy)
    s3.create_bucket(Bucket=legacy)
    let_in(who, "list_objects_v2", Bucket=legacy)
    assert told(who["other"].create_bucket, Bucket=legacy)[:2] == (409, "BucketAlreadyExists")


def test_whoever_began_an_upload_may_list_and_abort_it(who, s3, legacy, other_id):
    other, key = who["other"], {"Bucket": legacy, "Key": "k"}
    policy(s3, legacy, {"Principal": {"AWS": OTHER_ID}, "Action": "s3:PutObject"})
    theirs, ours = other.create_multipart_upload(**key)["UploadId"], s3.create_multipart_upload(**key)["UploadId"]
    assert told(other.list_parts, **key, UploadId=ours) == DENIED
    assert told(other.abort_multipart_upload, **key, UploadId=ours) == DENIED
    assert told(who["dave"].abort_multipart_upload, **key, UploadId=theirs) == DENIED
    assert other.list_parts(**key, UploadId=theirs)["Initiator"]["ID"] == other_id
    other.abort_multipart_upload(**key, UploadId=theirs)
    s3.abort_multipart_upload(**key, UploadId=ours)


def test_a_policy_may_name_an_account_by_its_canonical_id(who, s3, bucket, other_id):
    key = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**key, Body=b"x")
    policy(s3, bucket, {"Principal": {"CanonicalUser": other_id}, "Action": "s3:GetObject"})
    let_in(who, "get_object", "other", **key)
    policy(s3, bucket, {"Principal": {"CanonicalUser": OWNER}, "Action": "s3:GetObject"})
    let_in(who, "get_object", **key)
    with pytest.raises(ClientError) as caught:
        policy(s3, bucket, {"Principal": {"CanonicalUser": "9" * 64}, "Action": "s3:GetObject"})
    assert caught.value.response["Error"]["Message"] == "Invalid principal in policy"
