"""Bucket policies, public access blocks and ownership on the running server: who gets in, and which uploads a bucket refuses."""

import base64
import concurrent.futures
import hashlib
import json
import os
import subprocess
import urllib.error
import urllib.request

import boto3
import pytest
from botocore import UNSIGNED
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

import raw
from harness import ACCOUNTS, KEY_ARN, KEY_ID, REGION, Server

MAIN, OTHER = ACCOUNTS["main"][0], ACCOUNTS["other"][0]
ALICE, BOB, CAROL = (f"arn:aws:iam::{MAIN}:user/{name}" for name in ("alice", "bob", "carol"))
DAVE = f"arn:aws:iam::{OTHER}:user/dave"
SSE = "s3:x-amz-server-side-encryption"
KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
SSE_C = "s3:x-amz-server-side-encryption-customer-algorithm"


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(bucket, action, principal="*", effect="Allow", condition=None, on="objects", **more):
    arn = f"arn:aws:s3:::{bucket}"
    resource = {"objects": f"{arn}/*", "bucket": arn, "both": [arn, f"{arn}/*"]}[on]
    who = principal if principal == "*" else {"AWS": principal}
    made = {"Effect": effect, "Principal": who, "Action": action, "Resource": resource} | more
    return made | ({"Condition": condition} if condition else {})


def code_of(call, *arguments, **named):
    """The error code of a call, or None."""
    try:
        call(*arguments, **named)
        return None
    except ClientError as error:
        return error.response["Error"]["Code"]


def denied(call, *arguments, text=None, **named):
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    error = caught.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 403, error
    if text is not None:
        assert error["Error"]["Message"] == text
    return error["Error"].get("Message")


def anonymous(server):
    """Signs nothing."""
    config = Config(signature_version=UNSIGNED, s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    return boto3.client("s3", endpoint_url=server.endpoints["http"], region_name=REGION, config=config)


def open_to_the_public(s3, bucket):
    s3.delete_public_access_block(Bucket=bucket)


@pytest.fixture
def guard(s3, bucket):
    """Puts a policy on the fresh bucket."""

    def put(*statements, name=bucket):
        s3.put_bucket_policy(Bucket=name, Policy=document(*statements))

    return put


# Uploads that a bucket refuses: the well-known policies, each against every kind of upload.


def deny(condition, **more):
    return lambda bucket: statement(bucket, "s3:PutObject", effect="Deny", condition=condition, **more)


POLICIES = {
    1: [deny({"StringNotEquals": {SSE: "AES256"}}), deny({"Null": {SSE: "true"}})],
    2: [deny({"StringNotEquals": {SSE: "aws:kms"}})],
    3: [deny({"Null": {KEY: "true"}})],
    4: [deny({"ArnNotEqualsIfExists": {KEY: KEY_ARN}})],
    5: [deny({"Null": {SSE_C: "true"}})],
    6: [deny({"Null": {SSE_C: "false"}})],
    7: [deny({"Null": {SSE: "false"}, "StringNotEquals": {SSE: "aws:kms"}})],
    8: [deny({"StringNotEqualsIfExists": {SSE: ["AES256", "aws:kms"]}})],
    10: [deny({"StringNotEquals": {SSE_C: "AES256"}})],
}
KINDS = ["none, default AES256", "none, default KMS", "AES256", "aws:kms this key", "aws:kms other key", "SSE-C"]
# P passes, R is refused, in the order of KINDS.
EXPECTED = {1: "RRPRRR", 2: "RRRPPR", 3: "RPRPPR", 4: "RPRPRR", 5: "RRRRRP", 6: "PPPPPR", 7: "PPRPPP", 8: "RRPPPR", 10: "RRRRRP"}
CUSTOMER_KEY = bytes(range(32))
CELLS = [(number, kind, EXPECTED[number][at]) for number in POLICIES for at, kind in enumerate(KINDS)]


@pytest.fixture(scope="module")
def guarded(server, s3, tmp_path_factory):
    """Two buckets for each policy, by their default encryption; another key; a source for copies; the files that uploads send."""
    files = tmp_path_factory.mktemp("uploads")
    (files / "small").write_bytes(b"small")
    (files / "large").write_bytes(os.urandom(20 << 20))
    (files / "key").write_bytes(CUSTOMER_KEY)
    other = server.kms().create_key()["KeyMetadata"]["Arn"]
    for number, statements in POLICIES.items():
        for default in ("aes", "kms"):
            bucket = f"guarded-{number}-{default}"
            s3.create_bucket(Bucket=bucket)
            rule = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY_ID} if default == "kms" else {"SSEAlgorithm": "AES256"}
            configuration = {"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]}
            s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=configuration)
            s3.put_bucket_policy(Bucket=bucket, Policy=document(*(made(bucket) for made in statements)))
    s3.create_bucket(Bucket="guarded-source")
    s3.put_object(Bucket="guarded-source", Key="k", Body=b"source")
    return files, other


def bucket_of(number, kind):
    return f"guarded-{number}-{'kms' if kind == KINDS[1] else 'aes'}"


def api_options(kind, files, other):
    """Options of `aws s3api`."""
    return {
        "AES256": ["--server-side-encryption", "AES256"],
        # By its bare id: what counts is the ARN.
        "aws:kms this key": ["--server-side-encryption", "aws:kms", "--ssekms-key-id", KEY_ID],
        "aws:kms other key": ["--server-side-encryption", "aws:kms", "--ssekms-key-id", other],
        "SSE-C": ["--sse-customer-algorithm", "AES256", "--sse-customer-key", f"fileb://{files / 'key'}"],
    }.get(kind, [])


def cp_options(kind, files, other):
    """Options of `aws s3 cp`."""
    return {
        "AES256": ["--sse", "AES256"],
        "aws:kms this key": ["--sse", "aws:kms", "--sse-kms-key-id", "alias/test"],
        "aws:kms other key": ["--sse", "aws:kms", "--sse-kms-key-id", other],
        "SSE-C": ["--sse-c", "AES256", "--sse-c-key", f"fileb://{files / 'key'}"],
    }.get(kind, [])


def parameters(kind, other):
    """The same for boto3."""
    return {
        "AES256": {"ServerSideEncryption": "AES256"},
        "aws:kms this key": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY_ARN},
        "aws:kms other key": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": other},
        "SSE-C": {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": CUSTOMER_KEY},
    }.get(kind, {})


def outcome(server, *command):
    """P when the command succeeds, R when it is refused for want of permission."""
    done = subprocess.run(command, env=server.environment_of(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 or "AccessDenied" in done.stderr, done.stderr
    return "P" if done.returncode == 0 else "R"


def check_cells(run):
    """Every cell through `run`, two at a time, and one list of those that came out otherwise."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda cell: run(*cell[:2]), CELLS))
    wrong = [(*cell, came) for cell, came in zip(CELLS, found) if cell[2] != came]
    assert not wrong, wrong


def test_uploads_by_the_cli(server, guarded):
    files, other = guarded

    def put(number, kind):
        options = api_options(kind, files, other)
        return outcome(server, "aws", "s3api", "put-object", "--bucket", bucket_of(number, kind), "--key", "put", "--body", files / "small", *options)

    check_cells(put)


def test_multipart_uploads_by_the_cli(server, guarded):
    files, other = guarded

    def copy(number, kind):
        options = cp_options(kind, files, other)
        return outcome(server, "aws", "s3", "cp", "--only-show-errors", files / "large", f"s3://{bucket_of(number, kind)}/large", *options)

    check_cells(copy)


def test_copies_say_their_encryption_themselves(s3, guarded):
    _, other = guarded

    def copy(number, kind):
        code = code_of(s3.copy_object, Bucket=bucket_of(number, kind), Key="copy", CopySource="guarded-source/k", **parameters(kind, other))
        assert code in (None, "AccessDenied")
        return "R" if code else "P"

    check_cells(copy)


def test_copies_by_the_cli(server, guarded):
    files, other = guarded

    def copy(number, kind):
        options = api_options(kind, files, other)
        return outcome(server, "aws", "s3api", "copy-object", "--bucket", bucket_of(number, kind), "--key", "cli", "--copy-source", "guarded-source/k", *options)

    check_cells(copy)
    assert outcome(server, "aws", "s3", "cp", "s3://guarded-source/k", "s3://guarded-2-aes/cp", "--sse", "aws:kms") == "P"
    assert outcome(server, "aws", "s3", "cp", "s3://guarded-source/k", "s3://guarded-2-aes/cp") == "R"


def put_url(url, headers=None):
    request = urllib.request.Request(url, b"body", headers or {}, method="PUT")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as answer:
        return answer.code


def presigned(server, path, query):
    """A URL whose query was signed, with what would be headers among it."""
    request = AWSRequest("PUT", server.endpoints["http"] + path, params=query)
    S3SigV4QueryAuth(Credentials(*ACCOUNTS["main"][1:]), "s3", REGION, expires=60).add_auth(request)
    return request.prepare().url


def test_presigned_uploads(server, guarded):
    _, other = guarded
    header = "x-amz-server-side-encryption"
    key_id = f"{header}-aws-kms-key-id"
    md5 = base64.b64encode(hashlib.md5(CUSTOMER_KEY).digest()).decode()
    said = {
        "AES256": {header: "AES256"},
        "aws:kms this key": {header: "aws:kms", key_id: KEY_ARN},
        "aws:kms other key": {header: "aws:kms", key_id: other},
        "SSE-C": {f"{header}-customer-algorithm": "AES256", f"{header}-customer-key": base64.b64encode(CUSTOMER_KEY).decode(), f"{header}-customer-key-MD5": md5},
    }

    def put(number, kind):
        status = put_url(presigned(server, f"/{bucket_of(number, kind)}/presigned", said.get(kind, {})))
        assert status in (200, 403), (number, kind, status)
        return "P" if status == 200 else "R"

    check_cells(put)


def test_signed_headers_of_a_presigned_upload_count_and_others_are_refused(server, guarded):
    signer = server.client(signature_version="s3v4")
    names = {"Bucket": "guarded-2-aes", "Key": "presigned", "ServerSideEncryption": "aws:kms"}
    url = signer.generate_presigned_url("put_object", Params=names)
    assert put_url(url, {"x-amz-server-side-encryption": "aws:kms"}) == 200
    plain = signer.generate_presigned_url("put_object", Params={"Bucket": "guarded-2-aes", "Key": "presigned"})
    assert put_url(plain, {"x-amz-server-side-encryption": "aws:kms"}) == 403


def test_parts_of_an_upload_from_before_the_policy_are_judged_with_what_it_was_created_with(s3, bucket, guard):
    plain = s3.create_multipart_upload(Bucket=bucket, Key="plain")["UploadId"]
    kms = s3.create_multipart_upload(Bucket=bucket, Key="kms", ServerSideEncryption="aws:kms")["UploadId"]
    guard(deny({"StringNotEquals": {SSE: "aws:kms"}})(bucket))
    denied(s3.upload_part, Bucket=bucket, Key="plain", UploadId=plain, PartNumber=1, Body=b"x")
    part = s3.upload_part(Bucket=bucket, Key="kms", UploadId=kms, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="kms", UploadId=kms, MultipartUpload=parts)
    denied(s3.complete_multipart_upload, Bucket=bucket, Key="plain", UploadId=plain, MultipartUpload=parts)
    assert code_of(s3.upload_part, Bucket=bucket, Key="kms", UploadId=kms, PartNumber=1, Body=b"x") == "AccessDenied"


def post(server, bucket, fields=(), signer=None, key="form", headers=None, change=None):
    """Sends a form with a file; `signer` presigns it, or nobody does. `change` alters its fields after that."""
    fields = dict(fields)
    if signer is None:
        sent = {"key": key} | fields
    else:
        conditions = [{name: value} for name, value in fields.items()]
        sent = signer.generate_presigned_post(bucket, key, Fields=fields, Conditions=conditions)["fields"]
    edge = "----edge"
    parts = [f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in sent.items()]
    file = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--{edge}--\r\n'
    head = {"Content-Type": f"multipart/form-data; boundary={edge}"} | (headers or {})
    return raw.send(server.endpoints["http"], "POST", f"/{bucket}", head, ("".join(parts) + file).encode(), change)


@pytest.fixture(scope="module")
def signer(server):
    return server.client(signature_version="s3v4")


def test_forms_say_their_encryption_in_fields(server, signer, guarded):
    _, other = guarded
    field = "x-amz-server-side-encryption"
    key_id = f"{field}-aws-kms-key-id"
    key, md5 = (base64.b64encode(data).decode() for data in (CUSTOMER_KEY, hashlib.md5(CUSTOMER_KEY).digest()))
    said = {
        "AES256": {field: "AES256"},
        "aws:kms this key": {field: "aws:kms", key_id: KEY_ID},
        "aws:kms other key": {field: "aws:kms", key_id: other},
        "SSE-C": {f"{field}-customer-algorithm": "AES256", f"{field}-customer-key": key, f"{field}-customer-key-MD5": md5},
    }

    def form(number, kind):
        answer = post(server, bucket_of(number, kind), said.get(kind, {}), signer)
        assert answer.status in (204, 403), (number, kind, answer)
        return "P" if answer.status == 204 else "R"

    check_cells(form)


def test_what_else_a_form_says_is_told_to_policies(server, signer, bucket, guard):
    header = "x-amz-server-side-encryption"
    tags = "<Tagging><TagSet><Tag><Key>team</Key><Value>{}</Value></Tag></TagSet></Tagging>"

    def check(condition, passes, refused, **how):
        guard(deny(condition)(bucket))
        for fields in passes:
            assert post(server, bucket, fields, signer, **how).status == 204, (condition, fields)
        for fields in refused:
            assert post(server, bucket, fields, signer, **how).told[:2] == (403, "AccessDenied"), (condition, fields)

    owner = "bucket-owner-full-control"
    check({"StringNotEquals": {"s3:x-amz-acl": owner}}, [{"acl": owner}, {"x-amz-acl": owner}], [{}, {"acl": "private"}])
    check({"StringNotEquals": {"s3:x-amz-storage-class": "STANDARD_IA"}}, [{"x-amz-storage-class": "STANDARD_IA"}], [{}])
    check({"StringNotEquals": {"s3:RequestObjectTag/team": "red"}}, [{"tagging": tags.format("red")}], [{}, {"tagging": tags.format("blue")}])
    check({"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": "team"}}, [{}], [{"tagging": tags.format("red")}])
    check({"StringEquals": {"s3:authType": "POST"}}, [], [{}])
    check({"StringNotEquals": {"s3:authType": "POST", "s3:signatureversion": "AWS4-HMAC-SHA256"}}, [{}], [])
    check({"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}, [], [{}])
    check({"NumericGreaterThan": {"s3:signatureAge": "600000"}}, [{}], [])
    check({"Null": {"s3:signatureAge": "true"}}, [{}], [])
    check({"Bool": {"s3:ObjectCreationOperation": "true"}}, [], [{}])
    check({"StringEquals": {"aws:username": "alice"}}, [{}], [])
    check({"StringLike": {"aws:UserAgent": "browser/*"}}, [{}], [])
    check({"StringLike": {"aws:UserAgent": "browser/*"}}, [], [{}], headers={"User-Agent": "browser/1"})
    # A header or a parameter of the address does not stand for a field, and of two fields that mean one thing neither counts.
    guard(deny({"StringNotEquals": {SSE: "AES256"}})(bucket))
    assert post(server, bucket, {}, signer, headers={header: "AES256"}).status == 501
    assert post(server, bucket, {}, signer).status == 403
    assert post(server, bucket, {"acl": "private", "x-amz-acl": "private"}, signer).told[:2] == (400, "InvalidArgument")


def test_forms_that_nobody_signed(server, s3, signer, bucket, guard):
    refused = (403, "AccessDenied", "Access Denied")
    assert post(server, bucket).told == refused
    open_to_the_public(s3, bucket)
    guard(statement(bucket, "s3:PutObject", condition={"StringEquals": {SSE: "AES256"}}))
    assert post(server, bucket).told == refused
    assert post(server, bucket, {"x-amz-server-side-encryption": "AES256"}).status == 204
    assert s3.get_object(Bucket=bucket, Key="form")["Body"].read() == b"x"
    # What comes with it needs its own permission, as with a header.
    sse = {"x-amz-server-side-encryption": "AES256"}
    tagging = {"tagging": "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"}
    assert post(server, bucket, sse | tagging).told == refused
    guard(statement(bucket, ["s3:PutObject", "s3:PutObjectTagging"]))
    assert post(server, bucket, tagging).status == 204
    # Nobody has no type of signature; a form that says who signed it must say it truly.
    guard(statement(bucket, "s3:PutObject"), statement(bucket, "s3:PutObject", effect="Deny", condition={"Null": {"s3:authType": "false"}}))
    assert post(server, bucket).status == 204
    assert post(server, bucket, signer=signer).status == 403
    assert post(server, bucket, {"x-amz-signature": "0" * 64}).told[:2] == (400, "InvalidArgument")
    guard(statement(bucket, "s3:PutObject", ALICE))
    assert post(server, bucket).told == refused
    # Keys of KMS are never for nobody.
    guard(statement(bucket, "s3:PutObject"))
    assert post(server, bucket, {"x-amz-server-side-encryption": "aws:kms"}).status in (400, 403)
    # A list that lets everybody write does as well.
    s3.delete_bucket_policy(Bucket=bucket)
    assert post(server, bucket).told == refused
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    assert post(server, bucket, {"acl": "public-read"}, key="listed").status == 204
    assert anonymous(server).get_object(Bucket=bucket, Key="listed")["Body"].read() == b"x"
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"IgnorePublicAcls": True})
    assert post(server, bucket).told == refused


# Who gets in.


def test_a_user_needs_a_policy_of_his_own_or_of_the_bucket(server, s3, bucket, guard):
    carol = server.client("carol")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    text = f'User: {CAROL} is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::{bucket}/k" because no identity-based policy allows the s3:GetObject action'
    denied(carol.get_object, Bucket=bucket, Key="k", text=text)
    denied(carol.list_buckets, text=f"User: {CAROL} is not authorized to perform: s3:ListAllMyBuckets because no identity-based policy allows the s3:ListAllMyBuckets action")
    denied(carol.create_bucket, Bucket=f"{bucket}-carol")
    guard(statement(bucket, "s3:GetObject", CAROL))
    assert carol.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    denied(carol.put_object, Bucket=bucket, Key="k", Body=b"y")
    guard(statement(bucket, "s3:GetObject", f"arn:aws:iam::{MAIN}:root"))
    denied(carol.get_object, Bucket=bucket, Key="k")
    # A deny in the bucket's policy beats what a user's own policy allows, and says so.
    guard(statement(bucket, "s3:GetObject", ALICE, effect="Deny"))
    text = f'User: {ALICE} is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::{bucket}/k" with an explicit deny in a resource-based policy'
    denied(server.client("alice").get_object, Bucket=bucket, Key="k", text=text)
    s3.delete_bucket_policy(Bucket=bucket)
    assert server.client("alice").get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_another_account_needs_both_sides(server, s3, bucket, guard):
    other, dave = server.client("other"), server.client("dave")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    denied(other.get_object, Bucket=bucket, Key="k", text="Access Denied")
    guard(statement(bucket, ["s3:GetObject", "s3:PutObject"], f"arn:aws:iam::{OTHER}:root"))
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    # The account's root speaks for itself; a user of it needs its policy too.
    denied(dave.get_object, Bucket=bucket, Key="k", text="Access Denied")
    guard(statement(bucket, "s3:GetObject", DAVE))
    denied(dave.get_object, Bucket=bucket, Key="k", text="Access Denied")
    # What another account writes into a bucket that enforces its owner's control is the owner's.
    guard(statement(bucket, "s3:PutObject", OTHER))
    other.put_object(Bucket=bucket, Key="theirs", Body=b"y")
    assert s3.get_object(Bucket=bucket, Key="theirs")["Body"].read() == b"y"
    # A policy is its own account's business, even for those who have the right.
    guard(statement(bucket, "s3:*BucketPolicy", OTHER, on="bucket"))
    for call, more in [(other.get_bucket_policy, {}), (other.delete_bucket_policy, {}), (other.put_bucket_policy, {"Policy": document(statement(bucket, "s3:*", OTHER))})]:
        with pytest.raises(ClientError) as caught:
            call(Bucket=bucket, **more)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 405


def test_everybody(server, s3, bucket, guard):
    nobody = anonymous(server)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    denied(nobody.get_object, Bucket=bucket, Key="k", text="Access Denied")
    public = statement(bucket, "s3:GetObject")
    denied(s3.put_bucket_policy, Bucket=bucket, Policy=document(public), text="Access Denied")
    open_to_the_public(s3, bucket)
    guard(public, statement(bucket, "s3:PutObject"))
    assert nobody.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    nobody.put_object(Bucket=bucket, Key="n", Body=b"n")
    denied(nobody.create_multipart_upload, Bucket=bucket, Key="n")
    denied(nobody.list_objects_v2, Bucket=bucket)
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
    # The switch cuts off everybody who is not of the account, while the policy stays.
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    denied(nobody.get_object, Bucket=bucket, Key="k", text="Access Denied")
    denied(server.client("other").get_object, Bucket=bucket, Key="k", text="Access Denied")
    assert server.client("carol").get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    guard(statement(bucket, "s3:GetObject", OTHER))
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is False
    assert server.client("other").get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_what_is_missing_is_told_to_those_who_may_list(server, s3, bucket, guard):
    carol = server.client("carol")
    guard(statement(bucket, "s3:GetObject", CAROL))
    assert code_of(carol.get_object, Bucket=bucket, Key="none") == "AccessDenied"
    assert code_of(carol.head_object, Bucket=bucket, Key="none") == "403"
    guard(statement(bucket, "s3:GetObject", CAROL), statement(bucket, "s3:ListBucket", CAROL, on="bucket"))
    assert code_of(carol.get_object, Bucket=bucket, Key="none") == "NoSuchKey"
    assert code_of(carol.head_object, Bucket=bucket, Key="none") == "404"
    assert code_of(carol.get_object, Bucket="no-such-bucket-anywhere", Key="none") == "NoSuchBucket"


def test_versions_have_actions_of_their_own(server, s3, bucket, guard):
    carol = server.client("carol")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    guard(statement(bucket, "s3:GetObject", CAROL))
    denied(carol.get_object, Bucket=bucket, Key="k", VersionId="null")
    guard(statement(bucket, "s3:GetObjectVersion", CAROL, condition={"StringEquals": {"s3:VersionId": "null"}}))
    assert carol.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"x"
    denied(carol.get_object, Bucket=bucket, Key="k")


def test_what_comes_with_an_upload_needs_its_own_permission(server, s3, bucket, guard):
    carol = server.client("carol")
    guard(statement(bucket, "s3:PutObject", CAROL))
    carol.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert ":PutObjectTagging on" in denied(carol.put_object, Bucket=bucket, Key="k", Body=b"x", Tagging="a=b")
    assert ":PutObjectAcl on" in denied(carol.put_object, Bucket=bucket, Key="k", Body=b"x", ACL="bucket-owner-full-control")
    denied(carol.create_multipart_upload, Bucket=bucket, Key="k", Tagging="a=b")
    tagged = {"StringEquals": {"s3:RequestObjectTag/team": "red"}}
    guard(statement(bucket, "s3:PutObject", CAROL), statement(bucket, "s3:PutObjectTagging", CAROL, condition=tagged))
    carol.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="team=red")
    denied(carol.put_object, Bucket=bucket, Key="k", Body=b"x", Tagging="team=blue")
    carol.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "team", "Value": "red"}]})
    denied(carol.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "team", "Value": "blue"}]})


def test_copies_need_their_source(server, s3, bucket, guard):
    carol, source = server.client("carol"), f"{bucket}-source"
    s3.create_bucket(Bucket=source)
    s3.put_object(Bucket=source, Key="k", Body=b"x", Tagging="a=b")
    guard(statement(bucket, "s3:PutObject", CAROL))
    copy = {"Bucket": bucket, "Key": "c", "CopySource": f"{source}/k"}
    assert "s3:GetObject on" in denied(carol.copy_object, **copy)
    guard(statement(source, "s3:GetObject", CAROL), name=source)
    # Its tags would be copied too.
    assert "s3:GetObjectTagging on" in denied(carol.copy_object, **copy)
    guard(statement(source, "s3:GetObject*", CAROL), name=source)
    assert "s3:PutObjectTagging on" in denied(carol.copy_object, **copy)
    writing = ["s3:PutObject", "s3:PutObjectTagging"]
    guard(statement(bucket, writing, CAROL))
    carol.copy_object(**copy)
    only = {"StringEquals": {"s3:x-amz-copy-source": f"{source}/k"}}
    guard(statement(bucket, "s3:PutObject", CAROL, condition=only), statement(bucket, "s3:PutObjectTagging", CAROL))
    carol.copy_object(**copy)
    denied(carol.put_object, Bucket=bucket, Key="c", Body=b"x")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    s3.delete_bucket_policy(Bucket=source)
    guard(statement(bucket, "s3:PutObject", CAROL))
    denied(carol.upload_part_copy, Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, CopySource=f"{source}/k")


def test_deletes_are_judged_key_by_key(server, s3, bucket, guard):
    carol = server.client("carol")
    for key in ("a/1", "b/1"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    guard({"Effect": "Allow", "Principal": {"AWS": CAROL}, "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{bucket}/a/*"})
    answer = carol.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a/1"}, {"Key": "b/1"}, {"Key": "a/1", "VersionId": "null"}]})
    assert [deleted["Key"] for deleted in answer["Deleted"]] == ["a/1"]
    assert [(error["Key"], error["Code"]) for error in answer["Errors"]] == [("b/1", "AccessDenied"), ("a/1", "AccessDenied")]
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["b/1"]


def test_conditions_of_the_request(server, s3, bucket, guard):
    carol = server.client("carol")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="secret=no")
    s3.put_object(Bucket=bucket, Key="s", Body=b"x", Tagging="secret=yes")

    def listing(condition):
        guard(statement(bucket, "s3:ListBucket", CAROL, on="bucket", condition=condition))

    listing({"StringEquals": {"s3:prefix": ["", "k"]}, "NumericLessThanEquals": {"s3:max-keys": "10"}})
    assert carol.list_objects_v2(Bucket=bucket, MaxKeys=10)["KeyCount"] == 2
    assert carol.list_objects_v2(Bucket=bucket, Prefix="k", MaxKeys=10)["KeyCount"] == 1
    denied(carol.list_objects_v2, Bucket=bucket, Prefix="s", MaxKeys=10)
    denied(carol.list_objects_v2, Bucket=bucket, MaxKeys=11)

    def reading(condition, effect="Allow"):
        more = [statement(bucket, "s3:GetObject", CAROL)] if effect == "Deny" else []
        guard(*more, statement(bucket, "s3:GetObject", CAROL, effect=effect, condition=condition))

    def reads(key="k", client=carol):
        return code_of(client.get_object, Bucket=bucket, Key=key) is None

    reading({"StringEquals": {"s3:ExistingObjectTag/secret": "no"}})
    assert reads("k") and not reads("s")
    reading({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}})
    assert reads()
    reading({"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}})
    assert not reads()
    reading({"StringEquals": {"aws:username": "carol", "aws:PrincipalArn": CAROL, "s3:ResourceAccount": MAIN, "s3:authType": "REST-HEADER"}})
    assert reads()
    reading({"StringLike": {"aws:UserAgent": "Boto3/*"}, "NumericLessThan": {"s3:signatureAge": "600000"}})
    assert reads()
    reading({"DateGreaterThan": {"aws:CurrentTime": "2100-01-01T00:00:00Z"}})
    assert not reads()
    reading({"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}, effect="Deny")
    url = server.client("carol", signature_version="s3v4").generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert reads()
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url)
    # The version of TLS is known where the server itself ends it.
    reading({"NumericLessThan": {"s3:TlsVersion": "1.4"}}, effect="Deny")
    assert reads() and not reads(client=server.client("carol", "https"))
    guard(statement(bucket, "s3:PutObject", CAROL, condition={"Bool": {"s3:ObjectCreationOperation": "true"}, "Null": {"s3:if-none-match": "false"}}))
    denied(carol.put_object, Bucket=bucket, Key="new", Body=b"x")
    carol.put_object(Bucket=bucket, Key="new", Body=b"x", IfNoneMatch="*")


def test_a_changed_policy_counts_from_the_next_request_on(server, s3, bucket, guard):
    carol = server.client("carol")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for _ in range(20):
        guard(statement(bucket, "s3:GetObject", CAROL))
        carol.get_object(Bucket=bucket, Key="k")
        s3.delete_bucket_policy(Bucket=bucket)
        denied(carol.get_object, Bucket=bucket, Key="k")


# The policy itself.


def test_nobody_is_locked_out_for_ever(server, s3, bucket, guard):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    everything = statement(bucket, "s3:*", effect="Deny", on="both")
    guard(everything)
    for call, more in [(s3.get_object, {"Key": "k"}), (s3.list_objects_v2, {}), (s3.delete_bucket, {}), (s3.get_bucket_policy_status, {})]:
        denied(call, Bucket=bucket, **more)
    alice = server.client("alice")
    for call, more in [(alice.get_bucket_policy, {}), (alice.put_bucket_policy, {"Policy": document(everything)}), (alice.delete_bucket_policy, {})]:
        assert "with an explicit deny in a resource-based policy" in denied(call, Bucket=bucket, **more)
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(document(everything))
    s3.put_bucket_policy(Bucket=bucket, Policy=document(everything), ConfirmRemoveSelfBucketAccess=True)
    s3.delete_bucket_policy(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_a_policy_is_kept_as_it_was_sent_and_wrong_ones_are_refused(s3, bucket):
    assert code_of(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"
    assert code_of(s3.get_bucket_policy_status, Bucket=bucket) == "NoSuchBucketPolicy"
    text = document(statement(bucket, "s3:GetObject", ALICE)).replace(",", " ,\n")
    answer = s3.put_bucket_policy(Bucket=bucket, Policy=text)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == text

    def refused(policy, message):
        with pytest.raises(ClientError) as caught:
            s3.put_bucket_policy(Bucket=bucket, Policy=policy)
        assert (caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]) == ("MalformedPolicy", message)

    refused("[]", "Policies must be valid JSON and the first byte must be '{'")
    refused("{}", "Missing required field Statement")
    refused(document(statement("another-bucket", "s3:GetObject", ALICE)), "Policy has invalid resource")
    refused(document(statement(bucket, "s3:GetObject", f"arn:aws:iam::{MAIN}:user/nobody")), "Invalid principal in policy")
    refused(document(statement(bucket, "s3:GetObject", ALICE, on="bucket")), "Action does not apply to any resource(s) in statement")
    refused(document(statement(bucket, "s3:MadeUp", ALICE)), "Policy has invalid action")
    long = document(statement(bucket, "s3:GetObject", ALICE, Sid="x" * 20_480))
    assert code_of(s3.put_bucket_policy, Bucket=bucket, Policy=long) == "PolicyTooLarge"
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == text
    s3.delete_bucket_policy(Bucket=bucket)
    assert code_of(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"


def test_public_access_blocks_and_ownership_are_kept(s3, bucket):
    every = dict.fromkeys(["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"], True)
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == every
    some = every | {"IgnorePublicAcls": False}
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=some)
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == some
    s3.delete_public_access_block(Bucket=bucket)
    assert code_of(s3.get_public_access_block, Bucket=bucket) == "NoSuchPublicAccessBlockConfiguration"

    def owner():
        return s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"][0]["ObjectOwnership"]

    assert owner() == "BucketOwnerEnforced"
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
    assert owner() == "ObjectWriter"
    s3.delete_bucket_ownership_controls(Bucket=bucket)
    assert code_of(s3.get_bucket_ownership_controls, Bucket=bucket) == "OwnershipControlsNotFoundError"
    made = f"{bucket}-made"
    s3.create_bucket(Bucket=made, ObjectOwnership="BucketOwnerPreferred")
    assert s3.get_bucket_ownership_controls(Bucket=made)["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerPreferred"}]


def test_legacy_buckets_and_rules_over_a_restart(tmp_path):
    server = Server(tmp_path, extra_config='[s3]\nnew_buckets = "legacy"\n').start()
    s3 = server.client()
    s3.create_bucket(Bucket="legacy")
    assert code_of(s3.get_public_access_block, Bucket="legacy") == "NoSuchPublicAccessBlockConfiguration"
    assert code_of(s3.get_bucket_ownership_controls, Bucket="legacy") == "OwnershipControlsNotFoundError"
    s3.put_bucket_policy(Bucket="legacy", Policy=document(statement("legacy", "s3:GetObject")))
    s3.put_object(Bucket="legacy", Key="k", Body=b"x")
    assert anonymous(server).get_object(Bucket="legacy", Key="k")["Body"].read() == b"x"
    server.stop()
    server.start()
    assert anonymous(server).get_object(Bucket="legacy", Key="k")["Body"].read() == b"x"
    server.client().delete_bucket_policy(Bucket="legacy")
    denied(anonymous(server).get_object, Bucket="legacy", Key="k")
    server.stop()


def test_only_a_trusted_proxy_tells_about_transport_and_address(tmp_path):
    """A server without --dev, over plain HTTP: what a client says of itself counts for nothing unless the proxy is trusted."""
    claims = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "9.9.9.9"}
    for trusted in (False, True):
        home = tmp_path / str(trusted)
        home.mkdir()
        proxies = f'[server]\ntrusted_proxies = ["127.0.0.0/8"]\n' if trusted else ""
        extra = f'{proxies}[root_key]\nprovider = "file"\npath = "{home}/root-key"\n'
        server = Server(home, extra_config=extra, dev=False).start()
        raw.request(server, "PUT", "/plain")
        raw.request(server, "PUT", "/plain/k", body=b"x")
        for condition, allowed in [({"Bool": {"aws:SecureTransport": "false"}}, trusted), ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, trusted)]:
            policy = document(statement("plain", "s3:GetObject", effect="Deny", condition=condition))
            assert raw.request(server, "PUT", "/plain?policy", body=policy.encode()).status == 204
            answer = raw.request(server, "GET", "/plain/k", change=lambda headers: headers.update(claims))
            assert answer.status == (200 if allowed else 403), (trusted, condition, answer)
        server.stop()
