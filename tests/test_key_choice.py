"""Which KMS key a write uses when it names none: the account's aws/s3, and policies judge that key, whatever the bucket's default names."""

import json

import pytest
from botocore.exceptions import ClientError

from harness import KEY_ARN
from test_post import form, presign, send

KMS = {"ServerSideEncryption": "aws:kms"}
KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"


@pytest.fixture(scope="module")
def s3(server):
    return server.client(signature_version="s3v4")


@pytest.fixture(scope="module")
def managed(server, s3):
    """The ARN of the account's aws/s3, which its first use makes."""
    s3.create_bucket(Bucket="first-use-of-the-managed-key")
    s3.put_object(Bucket="first-use-of-the-managed-key", Key="k", Body=b"x", **KMS)
    return server.kms().describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"]


def writes(server, s3, bucket, algorithm="aws:kms"):
    """Every door by which an object comes, as functions that give the key of the answer."""
    asked = {"ServerSideEncryption": algorithm}
    names = {"Bucket": bucket, "Key": "k"}

    def put():
        return s3.put_object(**names, Body=b"x", **asked)["SSEKMSKeyId"]

    def copy():
        return s3.copy_object(**names, CopySource=f"{bucket}/source", **asked)["SSEKMSKeyId"]

    def multipart():
        made = s3.create_multipart_upload(**names, **asked)
        part = {**names, "UploadId": made["UploadId"]}
        etag = s3.upload_part(**part, PartNumber=1, Body=b"x")
        done = s3.complete_multipart_upload(**part, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag["ETag"]}]})
        assert etag["SSEKMSKeyId"] == done["SSEKMSKeyId"] == made["SSEKMSKeyId"]
        return made["SSEKMSKeyId"]

    def post():
        answer = send(server, bucket, form(presign(s3, bucket, fields={"x-amz-server-side-encryption": algorithm})))
        if answer.status != 204:
            raise ClientError({"Error": {"Code": answer.told[1]}}, "PostObject")
        return answer.headers[KEY_HEADER]

    return {"PutObject": put, "CopyObject": copy, "CreateMultipartUpload": multipart, "PostObject": post}


def set_default(s3, bucket, **rule):
    rules = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"} | rule}]
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})


def guard(s3, bucket, key):
    """The S3 user guide's policy: objects are encrypted with this key or not stored."""
    condition = {"ArnNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": key}}
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*", "Condition": condition}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))


@pytest.mark.parametrize("algorithm", ["aws:kms", "aws:kms:dsse"])
@pytest.mark.parametrize("default", [{}, {"KMSMasterKeyID": KEY_ARN}, {"SSEAlgorithm": "AES256"}], ids=["managed", "named", "sse-s3"])
def test_a_write_that_asks_for_kms_without_a_key_uses_the_managed_key(server, s3, bucket, managed, default, algorithm):
    s3.put_object(Bucket=bucket, Key="source", Body=b"source")
    set_default(s3, bucket, **default)
    for call, write in writes(server, s3, bucket, algorithm).items():
        assert write() == managed, call
        head = s3.head_object(Bucket=bucket, Key="k")
        assert (head["SSEKMSKeyId"], head["ServerSideEncryption"]) == (managed, algorithm), call


def test_policies_judge_the_key_that_is_used(server, s3, bucket, managed):
    s3.put_object(Bucket=bucket, Key="source", Body=b"source")
    set_default(s3, bucket, KMSMasterKeyID=KEY_ARN)
    guard(s3, bucket, KEY_ARN)
    # What says nothing takes the bucket's default, which is the key that the policy wants.
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"x")["SSEKMSKeyId"] == KEY_ARN
    for call, write in writes(server, s3, bucket).items():
        with pytest.raises(ClientError) as caught:
            write()
        assert caught.value.response["Error"]["Code"] == "AccessDenied", call
    guard(s3, bucket, managed)
    for call, write in writes(server, s3, bucket).items():
        assert write() == managed, call
    with pytest.raises(ClientError):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
