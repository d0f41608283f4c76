"""Ways around a policy that must not work: requests that say a thing twice, or where nobody reads it, and what is told to strangers."""

import base64
import hashlib
import http.client
import json
import urllib.parse

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness import ACCOUNTS, REGION
from identities import ADMIN, MAIN, client_of, document, made_user, name, refused, trust
from raw import Answer, request, send
from test_post import form, send as post

OWNER = "1" * 64
EVERYBODY = 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'


@pytest.fixture(scope="module")
def iam(server):
    return server.client(service="iam")


@pytest.fixture
def guard(s3, bucket):
    """Denies something in the bucket to everybody."""

    def put(action, **more):
        statement = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{bucket}/*"} | more
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))

    return put


@pytest.fixture
def legacy(s3, bucket):
    """A bucket where lists count and public ones are not blocked."""
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
    switches = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(switches, False))
    return bucket


def readable(server, bucket, key):
    """Whether somebody without a signature reads the object."""
    return send(server.endpoints["http"], "GET", f"/{bucket}/{key}", {}).status == 200


def put_with(server, path, headers, who="alice"):
    """A signed PUT whose headers may stand twice."""
    base = server.endpoints["http"]
    signed = AWSRequest("PUT", base + path, headers={}, data=b"x")
    for header, value in headers:
        signed.headers[header] = value
    signed.context["payload_signing_enabled"] = True
    S3SigV4Auth(Credentials(*ACCOUNTS[who][1:]), "s3", REGION).add_auth(signed)
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(base).netloc, timeout=60)
    connection.putrequest("PUT", path)
    for header, value in [*signed.headers.items(), ("Content-Length", "1")]:
        connection.putheader(header, value)
    connection.endheaders(b"x")
    answer = Answer(connection.getresponse())
    connection.close()
    return answer


def test_policies_judge_every_value_of_a_grant_header(server, s3, legacy, guard):
    mine = f'id="{OWNER}"'
    guard("s3:PutObject", Condition={"StringNotEquals": {"s3:x-amz-grant-read": mine}})
    assert put_with(server, f"/{legacy}/k", [("x-amz-grant-read", mine)]).status == 200
    for twice in ([mine, EVERYBODY], [EVERYBODY, mine]):
        answer = put_with(server, f"/{legacy}/k", [("x-amz-grant-read", value) for value in twice])
        assert answer.error["Code"] == "AccessDenied", answer
    assert not readable(server, legacy, "k")


def test_grants_in_a_presigned_query_need_the_permission(server, s3, legacy, guard):
    def presigned(key):
        path = f"{server.endpoints['http']}/{legacy}/{key}"
        signed = AWSRequest("PUT", path, headers={}, params={"x-amz-grant-read": EVERYBODY})
        S3SigV4QueryAuth(Credentials(*ACCOUNTS["alice"][1:]), "s3", REGION, expires=600).add_auth(signed)
        url = urllib.parse.urlsplit(signed.url)
        return send(server.endpoints["http"], "PUT", f"{url.path}?{url.query}", {}, b"x")

    assert presigned("open").status == 200 and readable(server, legacy, "open")
    guard("s3:PutObjectAcl")
    assert presigned("shut").error["Code"] == "AccessDenied"


def test_a_parameter_in_front_of_a_signed_one_changes_nothing(server, s3, legacy):
    """Signature Version 2 sorts nothing: of two values the one that is signed must be the one that is read."""
    signer = server.client(signature_version="s3")
    url = urllib.parse.urlsplit(signer.generate_presigned_url("put_object", Params={"Bucket": legacy, "Key": "k", "ACL": "private"}))
    base = server.endpoints["http"]
    for query in (f"x-amz-acl=public-read&{url.query}", f"X-Amz-Acl=public-read&{url.query}"):
        assert send(base, "PUT", f"{url.path}?{query}", {}, b"x").error["Code"] == "SignatureDoesNotMatch"
    assert send(base, "PUT", f"{url.path}?{url.query}&x-amz-acl=public-read", {}, b"x").status in (200, 403)
    assert send(base, "PUT", f"{url.path}?{url.query}", {}, b"x").status == 200
    assert not readable(server, legacy, "k")


def test_a_presigned_url_is_of_one_operation(server, s3, bucket):
    """What Signature Version 2 did not know must not turn one operation into another."""
    signer = server.client(signature_version="s3")
    base = server.endpoints["http"]
    assert signer.list_objects(Bucket=bucket)["Name"] == bucket
    for call in ("list_objects", "delete_bucket"):
        url = urllib.parse.urlsplit(signer.generate_presigned_url(call, Params={"Bucket": bucket}))
        method = "DELETE" if call == "delete_bucket" else "GET"
        for other in ("ownershipControls", "policyStatus", "publicAccessBlock", "encryption", "acl", "policy"):
            answer = send(base, method, f"{url.path}?{other}&{url.query}", {})
            assert answer.error["Code"] == "SignatureDoesNotMatch", (call, other, answer)
        # As it was given, it is good.
        assert send(base, method, f"{url.path}?{url.query}", {}).status in (200, 204)


def test_a_signed_plus_sign_is_no_space(server, s3, bucket):
    for key in ("a+b/1", "a b/2"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    signer = server.client(signature_version="s3v4")
    url = urllib.parse.urlsplit(signer.generate_presigned_url("list_objects", Params={"Bucket": bucket, "Prefix": "a+b/"}))
    base = server.endpoints["http"]
    listed = send(base, "GET", f"{url.path}?{url.query}", {}).body
    assert b"<Key>a%2Bb/1</Key>" in listed and b"<KeyCount>2" not in listed, listed
    changed = url.query.replace("%2B", "+", 1)
    assert changed != url.query
    assert send(base, "GET", f"{url.path}?{changed}", {}).error["Code"] == "SignatureDoesNotMatch"
    for key in ("a+b/1", "a b/2"):
        assert signer.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"][0]["Key"] == key


def test_a_signature_is_for_one_service(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    url = f"{server.endpoints['http']}/{bucket}/k"
    for service, good in (("s3", True), ("dynamodb", False), ("S3", False)):
        for signer in (S3SigV4Auth, S3SigV4QueryAuth):
            signed = AWSRequest("GET", url, headers={})
            signer(Credentials(*ACCOUNTS["main"][1:]), service, REGION).add_auth(signed)
            sent = urllib.parse.urlsplit(signed.url)
            path = f"{sent.path}?{sent.query}" if sent.query else sent.path
            answer = send(server.endpoints["http"], "GET", path, dict(signed.headers.items()))
            assert (answer.status == 200) == good, (service, answer)
            if not good:
                assert answer.status == 400 and f'incorrect service "{service}"' in answer.error["Message"], answer


def delete_objects(server, bucket, item, headers=None, who="alice"):
    body = f"<Delete><Object>{item}</Object></Delete>".encode()
    digest = base64.b64encode(hashlib.md5(body).digest()).decode()
    return request(server, "POST", f"/{bucket}?delete", {"Content-MD5": digest} | (headers or {}), body, who=who).body.decode()


def test_every_item_of_a_deletion_has_its_own_condition(server, s3, bucket, guard):
    guard("s3:DeleteObject", Condition={"Null": {"s3:if-match": "true"}})
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    item = "<Key>k</Key>"
    assert "AccessDenied" in delete_objects(server, bucket, item)
    # The header is none of an item's.
    assert "AccessDenied" in delete_objects(server, bucket, item, {"If-Match": '"x"'})
    assert "PreconditionFailed" in delete_objects(server, bucket, f"{item}<ETag>&quot;0&quot;</ETag>")
    assert "<Deleted>" in delete_objects(server, bucket, f"{item}<ETag>{tag}</ETag>")


def test_whoever_asks_for_an_etag_must_be_allowed_to_read(server, s3, bucket, iam):
    _, key = made_user(iam, document("s3:DeleteObject", f"arn:aws:s3:::{bucket}/*"))
    writer = client_of(server, "s3", key)
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    for guess in (tag, '"00000000000000000000000000000000"'):
        assert "s3:GetObject " in refused("AccessDenied", writer.delete_object, Bucket=bucket, Key="k", IfMatch=guess)
        answer = writer.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "ETag": guess}]})
        assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied"]
    # That there is something, the deletion itself would tell.
    writer.delete_object(Bucket=bucket, Key="k", IfMatch="*")
    refused("404", s3.head_object, Bucket=bucket, Key="k")


def test_a_field_of_a_form_that_nobody_heeds_is_no_promise(server, s3, bucket):
    """`if-none-match` is a header; a form that names it would overwrite all the same."""
    condition = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    statements = [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*"},
        {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*", "Condition": condition},
    ]
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    s3.put_object(Bucket=bucket, Key="k", Body=b"first", IfNoneMatch="*")
    for fields in ([("key", "k")], [("key", "k"), ("if-none-match", "*")], [("key", "k"), ("If-Match", "*")]):
        assert post(server, bucket, form(fields, b"second")).error["Code"] == "AccessDenied"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"first"


def test_tags_do_not_come_in_with_a_copy(server, s3, bucket, iam, guard):
    s3.put_object(Bucket=bucket, Key="tagged", Body=b"x", Tagging="public=yes")
    alice = server.client("alice")
    source = {"Bucket": bucket, "Key": "tagged"}
    # What the request says of tags means nothing for a copy of the source's, to policies neither.
    guard("s3:PutObjectTagging", Condition={"StringEquals": {"s3:RequestObjectTag/public": "yes"}})
    refused("AccessDenied", alice.copy_object, Bucket=bucket, Key="k", CopySource=source)
    refused("AccessDenied", alice.copy_object, Bucket=bucket, Key="k", CopySource=source, Tagging="public=no")
    alice.copy_object(Bucket=bucket, Key="k", CopySource=source, Tagging="public=no", TaggingDirective="REPLACE")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "public", "Value": "no"}]
    guard("s3:PutObjectTagging")
    refused("AccessDenied", alice.copy_object, Bucket=bucket, Key="k2", CopySource=source)
    alice.copy_object(Bucket=bucket, Key="k2", CopySource=source, TaggingDirective="REPLACE")
    s3.delete_bucket_policy(Bucket=bucket)
    alice.copy_object(Bucket=bucket, Key="k3", CopySource=source)
    assert s3.get_object_tagging(Bucket=bucket, Key="k3")["TagSet"] == [{"Key": "public", "Value": "yes"}]


def test_a_role_is_there_for_those_alone_whom_it_trusts(server, iam):
    role = name("role")
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust({"AWS": MAIN}))
    _, key = made_user(server.client("other", service="iam"), document("sts:*", effect="Deny"))
    spy = client_of(server, "sts", key)
    texts = set()
    for asked in (role, "nobody"):
        arn = f"arn:aws:iam::{MAIN}:role/{asked}"
        texts.add(refused("AccessDenied", spy.assume_role, RoleArn=arn, RoleSessionName="s1").replace(asked, "ROLE"))
    assert len(texts) == 1, texts


def test_a_federated_user_gets_no_further(server, iam):
    user, key = made_user(iam, document("sts:*"), document("s3:*"))
    role = name("role")
    arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust({"AWS": MAIN}))["Role"]["Arn"]
    iam.attach_role_policy(RoleName=role, PolicyArn=ADMIN)
    sts = client_of(server, "sts", key)
    guest = client_of(server, "sts", sts.get_federation_token(Name="guest", Policy=document("sts:*"))["Credentials"])
    assert guest.get_caller_identity()["Arn"] == f"arn:aws:sts::{MAIN}:federated-user/guest"
    for call, parameters in (
        (guest.assume_role, {"RoleArn": arn, "RoleSessionName": "s1"}),
        (guest.get_session_token, {}),
        (guest.get_federation_token, {"Name": "second"}),
        (guest.get_access_key_info, {"AccessKeyId": key["AccessKeyId"]}),
    ):
        refused("AccessDenied", call, **parameters)
    # A user's own session may assume a role, and nothing more.
    own = client_of(server, "sts", sts.get_session_token()["Credentials"])
    assert own.assume_role(RoleArn=arn, RoleSessionName="s1")["Credentials"]
    refused("AccessDenied", own.get_access_key_info, AccessKeyId=key["AccessKeyId"])


def test_a_boundary_is_a_key_of_the_calls_that_have_it(server, iam):
    """Of calls that have no such key, a policy that asks for a boundary allows none."""
    bound = iam.create_policy(PolicyName=name("bound"), PolicyDocument=document("s3:*"))["Policy"]["Arn"]
    condition = {"StringEquals": {"iam:PermissionsBoundary": bound}}
    _, key = made_user(iam, document("iam:*", Condition=condition))
    delegate = client_of(server, "iam", key)
    user = name("user")
    delegate.create_user(UserName=user, PermissionsBoundary=bound)
    delegate.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document("s3:*"))
    refused("AccessDenied", delegate.create_access_key, UserName=user)
    refused("AccessDenied", delegate.update_user, UserName=user, NewUserName=name("user"))
    refused("AccessDenied", delegate.put_user_permissions_boundary, UserName=user, PermissionsBoundary=ADMIN)
    delegate.delete_user_permissions_boundary(UserName=user)
    refused("AccessDenied", delegate.put_user_policy, UserName=user, PolicyName="p", PolicyDocument=document("*"))
