"""Key policies and grants: who administers, who uses, who is refused, over KMS's own protocol and through S3."""

import json

import pytest
from botocore.exceptions import ClientError

from harness import ACCOUNTS, REGION
from test_kms import refused

ACCOUNT, OTHER = ACCOUNTS["main"][0], ACCOUNTS["other"][0]
ALICE, BOB = (f"arn:aws:iam::{ACCOUNT}:user/{name}" for name in ("alice", "bob"))
USE = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
ADMINISTER = [
    "kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*", "kms:Revoke*", "kms:Disable*",
    "kms:Get*", "kms:Delete*", "kms:TagResource", "kms:UntagResource", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion",
    "kms:RotateKeyOnDemand",
]


def statement(principal, actions, effect="Allow", **more):
    who = "*" if principal == "*" else {"AWS": principal}
    return {"Effect": effect, "Principal": who, "Action": actions, "Resource": "*"} | more


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.fixture(scope="module")
def kms(server):
    return server.kms()


@pytest.fixture(scope="module")
def halves(server, kms):
    """A key that alice administers and bob uses; the account's root may only put its policy."""
    root = statement(f"arn:aws:iam::{ACCOUNT}:root", ["kms:PutKeyPolicy", "kms:GetKeyPolicy"])
    text = policy(root, statement(ALICE, ADMINISTER), statement(BOB, USE))
    return kms.create_key(Policy=text)["KeyMetadata"]["Arn"], server.kms("alice"), server.kms("bob")


def denied(call, **arguments):
    refused("AccessDeniedException", call, **arguments)


def test_who_administers_cannot_use_and_who_uses_cannot_administer(halves, kms):
    key, alice, bob = halves
    uses = [("encrypt", {"Plaintext": b"x"}), ("generate_data_key", {"KeySpec": "AES_256"}), ("generate_data_key_without_plaintext", {"KeySpec": "AES_256"})]
    works = [
        ("enable_key_rotation", {}), ("get_key_rotation_status", {}), ("disable_key_rotation", {}), ("list_key_rotations", {}),
        ("rotate_key_on_demand", {}), ("tag_resource", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}), ("untag_resource", {"TagKeys": ["a"]}),
        ("update_key_description", {"Description": "d"}), ("get_key_policy", {}), ("list_resource_tags", {}), ("list_grants", {}),
        ("schedule_key_deletion", {"PendingWindowInDays": 7}), ("cancel_key_deletion", {}), ("enable_key", {}), ("disable_key", {}), ("enable_key", {}),
    ]
    for operation, arguments in uses:
        denied(getattr(alice, operation), KeyId=key, **arguments)
        denied(getattr(kms, operation), KeyId=key, **arguments)
        getattr(bob, operation)(KeyId=key, **arguments)
    blob = bob.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    denied(alice.decrypt, CiphertextBlob=blob)
    assert bob.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    for operation, arguments in works:
        denied(getattr(bob, operation), KeyId=key, **arguments)
        getattr(alice, operation)(KeyId=key, **arguments)
    text = f"User: {ALICE} is not authorized to perform: kms:Encrypt on resource: {key} because no resource-based policy allows the kms:Encrypt action"
    refused("AccessDeniedException", alice.encrypt, text, KeyId=key, Plaintext=b"x")


def test_the_same_halves_through_the_aws_cli_and_s3(server, halves, bucket, tmp_path):
    key, _, _ = halves
    body = tmp_path / "body"
    body.write_bytes(b"body")
    server.run("aws", "kms", "describe-key", "--key-id", key, who="alice")
    put = ["aws", "s3api", "put-object", "--bucket", bucket, "--key", "k", "--body", str(body), "--server-side-encryption", "aws:kms", "--ssekms-key-id", key]
    server.run(*put, who="bob")
    server.run("aws", "s3api", "get-object", "--bucket", bucket, "--key", "k", str(tmp_path / "out"), who="bob")
    assert (tmp_path / "out").read_bytes() == b"body"
    for who in ("alice", "main"):
        s3 = server.client(who)
        for call in (
            lambda: s3.get_object(Bucket=bucket, Key="k"),
            lambda: s3.put_object(Bucket=bucket, Key="n", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=key),
            lambda: s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k"),
            lambda: s3.create_multipart_upload(Bucket=bucket, Key="m", ServerSideEncryption="aws:kms:dsse", SSEKMSKeyId=key),
        ):
            answer = refused("AccessDenied", call, status=403)
            assert "is not authorized to perform: kms:" in answer["Error"]["Message"]
            assert "on this resource because no resource-based policy allows" in answer["Error"]["Message"]


def test_a_bucket_key_of_one_user_gives_nothing_to_another(server, halves, bucket):
    key, _, _ = halves
    bob, alice = server.client("bob"), server.client("alice")
    names = {"Bucket": bucket, "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key, "BucketKeyEnabled": True}
    for n in range(3):
        bob.put_object(Key=f"k{n}", Body=b"body", **names)
    assert bob.get_object(Bucket=bucket, Key="k0")["Body"].read() == b"body"
    for call in (
        lambda: alice.get_object(Bucket=bucket, Key="k0"),
        lambda: alice.put_object(Key="k9", Body=b"x", **names),
        lambda: alice.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k0"),
    ):
        refused("AccessDenied", call, status=403)
    assert alice.list_objects_v2(Bucket=bucket)["KeyCount"] == 3


def test_a_disabled_key_counts_from_the_next_s3_request(server, kms, s3, bucket):
    key = kms.create_key()["KeyMetadata"]["Arn"]
    for name, more in [("plain", {}), ("bucket", {"BucketKeyEnabled": True})]:
        s3.put_object(Bucket=bucket, Key=name, Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=key, **more)
    kms.disable_key(KeyId=key)
    for name in ("plain", "bucket"):
        refused("KMS.DisabledException", s3.get_object, f"{key} is disabled.", Bucket=bucket, Key=name)
    kms.enable_key(KeyId=key)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    for name in ("plain", "bucket"):
        refused("KMS.KMSInvalidStateException", s3.get_object, f"{key} is pending deletion.", Bucket=bucket, Key=name)


def test_conditions_hold(server, kms, bucket):
    root = statement(f"arn:aws:iam::{ACCOUNT}:root", "kms:*")
    only_s3 = statement(BOB, USE, Condition={"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com", "kms:CallerAccount": ACCOUNT}})
    key = kms.create_key(Policy=policy(root, only_s3))["KeyMetadata"]["Arn"]
    bob, s3 = server.kms("bob"), server.client("bob")
    denied(bob.encrypt, KeyId=key, Plaintext=b"x")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    context = statement(BOB, USE, Condition={"StringEquals": {"kms:EncryptionContext:app": "a"}})
    kms.put_key_policy(KeyId=key, Policy=policy(root, context))
    denied(bob.encrypt, KeyId=key, Plaintext=b"x")
    blob = bob.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"app": "a"})["CiphertextBlob"]
    denied(bob.decrypt, CiphertextBlob=blob)
    assert bob.decrypt(CiphertextBlob=blob, EncryptionContext={"app": "a"})["Plaintext"] == b"x"
    only_bucket = statement(BOB, USE, Condition={"StringEquals": {"kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{bucket}/here"}})
    kms.put_key_policy(KeyId=key, Policy=policy(root, only_bucket))
    s3.put_object(Bucket=bucket, Key="here", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    refused("AccessDenied", s3.put_object, status=403, Bucket=bucket, Key="there", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    deny = statement("*", "kms:Decrypt", effect="Deny", Condition={"Bool": {"aws:ViaAWSService": "false"}})
    kms.put_key_policy(KeyId=key, Policy=policy(root, deny))
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    text = f"User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform: kms:Decrypt on resource: {key} with an explicit deny in a resource-based policy"
    refused("AccessDeniedException", kms.decrypt, text, CiphertextBlob=blob)


def test_policies_that_lock_out_or_are_none(kms):
    text = "The new key policy will not allow you to update the key policy in the future."
    locked = policy(statement(ALICE, "kms:*"))
    refused("MalformedPolicyDocumentException", kms.create_key, text, Policy=locked)
    key = kms.create_key(Policy=locked, BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]["Arn"]
    denied(kms.describe_key, KeyId=key)
    nobody = policy(statement(f"arn:aws:iam::{ACCOUNT}:root", "kms:*"), statement(f"arn:aws:iam::{ACCOUNT}:user/nobody", "kms:*"))
    refused("MalformedPolicyDocumentException", kms.create_key, "Policy contains a statement with one or more invalid principals.", Policy=nobody)
    for text in ["{", "{}", "[]", policy(), '{"Statement":{"Effect":"Allow","Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}']:
        refused("MalformedPolicyDocumentException", kms.create_key, Policy=text)
    refused("LimitExceededException", kms.create_key, Policy=policy(statement(f"arn:aws:iam::{ACCOUNT}:root", "kms:*", Sid="x" * 32768)))


def test_a_user_without_any_policy_has_no_keys(server):
    bob = server.kms("bob")
    for call in (bob.create_key, bob.list_keys, bob.list_aliases, lambda: bob.generate_random(NumberOfBytes=4), lambda: bob.describe_key(KeyId="alias/test")):
        denied(call)


def test_other_accounts(server, kms):
    other = server.kms("other")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    denied(other.describe_key, KeyId=key)
    denied(other.encrypt, KeyId=key, Plaintext=b"x")
    shared = policy(statement(f"arn:aws:iam::{ACCOUNT}:root", "kms:*"), statement(f"arn:aws:iam::{OTHER}:root", "kms:*"))
    kms.put_key_policy(KeyId=key, Policy=shared)
    blob = other.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert other.decrypt(CiphertextBlob=blob, KeyId=key)["KeyId"] == key
    # Management stays with the account whatever the policy says.
    for call in (other.disable_key, other.schedule_key_deletion, other.get_key_policy, other.list_resource_tags):
        denied(call, KeyId=key)


def test_the_key_that_aws_manages(server, kms, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms")
    shown = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]
    key = shown["Arn"]
    assert shown["KeyManager"] == "AWS" and kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True
    for call, arguments in [
        (kms.encrypt, {"Plaintext": b"x"}), (kms.disable_key, {}), (kms.schedule_key_deletion, {}), (kms.put_key_policy, {"Policy": policy(statement("*", "kms:*"))}),
        (kms.create_grant, {"GranteePrincipal": BOB, "Operations": ["Decrypt"]}), (kms.rotate_key_on_demand, {}),
    ]:
        denied(call, KeyId=key, **arguments)
    assert server.client("bob").get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


# Grants.


def test_grants_allow_and_end(server, kms):
    key = kms.create_key()["KeyMetadata"]["Arn"]
    bob = server.kms("bob")
    denied(bob.encrypt, KeyId=key, Plaintext=b"x")
    names = {"KeyId": key, "GranteePrincipal": BOB, "Operations": ["Encrypt", "Decrypt"], "Name": "one", "RetiringPrincipal": ALICE}
    made = kms.create_grant(**names)
    again = kms.create_grant(**names)
    assert again["GrantId"] == made["GrantId"] and again["GrantToken"] != made["GrantToken"]
    blob = bob.encrypt(KeyId=key, Plaintext=b"x", GrantTokens=[made["GrantToken"]])["CiphertextBlob"]
    assert bob.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    denied(bob.generate_data_key, KeyId=key, KeySpec="AES_256")
    listed = kms.list_grants(KeyId=key)["Grants"]
    assert [(g["GrantId"], g["GranteePrincipal"], sorted(g["Operations"]), g["IssuingAccount"]) for g in listed] == [
        (made["GrantId"], BOB, ["Decrypt", "Encrypt"], f"arn:aws:iam::{ACCOUNT}:root")
    ]
    alice = server.kms("alice")
    assert [g["GrantId"] for g in alice.list_retirable_grants(RetiringPrincipal=ALICE)["Grants"]] == [made["GrantId"]]
    denied(bob.retire_grant, KeyId=key, GrantId=made["GrantId"])
    denied(bob.revoke_grant, KeyId=key, GrantId=made["GrantId"])
    refused("DryRunOperationException", alice.retire_grant, GrantToken=made["GrantToken"], DryRun=True)
    alice.retire_grant(GrantToken=made["GrantToken"])
    denied(bob.encrypt, KeyId=key, Plaintext=b"x")
    refused("InvalidGrantTokenException", alice.retire_grant, GrantToken=made["GrantToken"])
    refused("InvalidGrantIdException", kms.revoke_grant, KeyId=key, GrantId="0" * 64)


def test_a_grant_to_an_account_delegates_to_its_policies(server, kms):
    key = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_grant(KeyId=key, GranteePrincipal=f"arn:aws:iam::{OTHER}:root", Operations=["Encrypt"])
    kms.create_grant(KeyId=key, GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:root", Operations=["Encrypt"])
    server.kms("other").encrypt(KeyId=key, Plaintext=b"x")
    denied(server.kms("bob").encrypt, KeyId=key, Plaintext=b"x")


def test_grant_constraints_and_children(server, kms):
    key = kms.create_key()["KeyMetadata"]["Arn"]
    bob, alice = server.kms("bob"), server.kms("alice")
    kms.create_grant(KeyId=key, GranteePrincipal=BOB, Operations=["Encrypt", "Decrypt", "CreateGrant"], Constraints={"EncryptionContextSubset": {"app": "a"}})
    for context, allowed in [({}, False), ({"app": "b"}, False), ({"App": "a"}, False), ({"app": "a"}, True), ({"app": "a", "x": "y"}, True)]:
        if allowed:
            bob.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=context)
        else:
            denied(bob.encrypt, KeyId=key, Plaintext=b"x", EncryptionContext=context)
    child = {"KeyId": key, "GranteePrincipal": ALICE}
    stricter = {"EncryptionContextEquals": {"app": "a", "x": "y"}}
    denied(bob.create_grant, Operations=["GenerateDataKey"], Constraints=stricter, **child)
    denied(bob.create_grant, Operations=["Encrypt"], **child)
    bob.create_grant(Operations=["Encrypt"], Constraints=stricter, **child)
    denied(alice.encrypt, KeyId=key, Plaintext=b"x", EncryptionContext={"app": "a"})
    alice.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"app": "a", "x": "y"})
    refused("InvalidArnException", kms.create_grant, KeyId=key, GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:user/nobody", Operations=["Decrypt"])
    refused("ValidationException", server.kms(parameter_validation=False).create_grant, KeyId=key, GranteePrincipal=BOB, Operations=["DeleteKey"])


def test_who_cannot_be_told_is_refused(server):
    import boto3
    from botocore.config import Config

    def client(key, secret, service="kms"):
        settings = Config(retries={"total_max_attempts": 1})
        return boto3.client(service, endpoint_url=server.endpoints["http"], aws_access_key_id=key, aws_secret_access_key=secret, region_name=REGION, config=settings)

    _, key, secret = ACCOUNTS["main"]
    refused("UnrecognizedClientException", client("AKIANOBODY0000000000", secret).list_keys)
    refused("InvalidSignatureException", client(key, "wrong").list_keys)
    import urllib.request

    request = urllib.request.Request(server.endpoints["http"] + "/", b"{}", {"X-Amz-Target": "TrentService.ListKeys"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400 and json.loads(caught.value.read())["__type"] == "MissingAuthenticationTokenException"
    assert ClientError
