"""The kinds of server-side encryption as boto3 asks for them."""

import random

from harness import KEY_ARN, KEY_ID

CUSTOMER_KEY = bytes(range(32))
OTHER_CUSTOMER_KEY = bytes(range(1, 33))
_TRIPLE = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": CUSTOMER_KEY}

# What a write sends.
WRITE = {
    "s3": {},
    "kms": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY_ID},
    "bucket-key": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/test", "BucketKeyEnabled": True},
    "dsse": {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": KEY_ARN},
    "sse-c": _TRIPLE,
}
MODES = list(WRITE)


def read(mode):
    """What a read of such an object sends."""
    return _TRIPLE if mode == "sse-c" else {}


def part(mode):
    """What UploadPart sends."""
    return read(mode)


def source(mode):
    """What a copy of such an object sends."""
    return {f"CopySource{name}": value for name, value in read(mode).items()}


def check(mode, answer):
    """The answer names the encryption that was asked for, and nothing else."""
    expected = {"s3": "AES256", "kms": "aws:kms", "bucket-key": "aws:kms", "dsse": "aws:kms:dsse", "sse-c": None}[mode]
    assert answer.get("ServerSideEncryption") == expected, answer
    assert answer.get("SSEKMSKeyId") == (KEY_ARN if mode in ("kms", "bucket-key", "dsse") else None)
    assert answer.get("BucketKeyEnabled", False) == (mode == "bucket-key")
    assert answer.get("SSECustomerAlgorithm") == ("AES256" if mode == "sse-c" else None)


def noise(size, seed=0):
    """Bytes that no two seeds share and that do not compress."""
    chance = random.Random(seed * 1_000_003 + size)
    step = 1 << 24
    return b"".join(chance.randbytes(min(step, size - start)) for start in range(0, size, step))


def upload(s3, bucket, key, body, mode, parts=None, **extra):
    """Puts an object, in parts of the given sizes if there are any; the answer of the last step."""
    if parts is None:
        return s3.put_object(Bucket=bucket, Key=key, Body=body, **WRITE[mode], **extra)
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key, **WRITE[mode], **extra)["UploadId"]
    sums_by = {name: value for name, value in extra.items() if name == "ChecksumAlgorithm"}
    listed, start = [], 0
    for number, size in enumerate(parts, 1):
        piece = body[start : start + size]
        start += size
        names = {"Bucket": bucket, "Key": key, "UploadId": upload_id, "PartNumber": number}
        answer = s3.upload_part(**names, Body=piece, **sums_by, **part(mode))
        sums = {name: value for name, value in answer.items() if name.startswith("Checksum") and name != "ChecksumType"}
        listed.append({"PartNumber": number, "ETag": answer["ETag"], **sums})
    assert start == len(body)
    done = {"Bucket": bucket, "Key": key, "UploadId": upload_id, "MultipartUpload": {"Parts": listed}}
    return s3.complete_multipart_upload(**done, **read(mode))
