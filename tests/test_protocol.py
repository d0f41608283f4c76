"""The S3 protocol beside encryption: listings, conditions, ranges, checksums, multipart, tags, documents, who may call."""

import base64
import datetime
import hashlib
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

import sse
from harness import ACCOUNTS, operations
from raw import request, send

MIB = 1 << 20


def failure(call, **arguments):
    """Status and code of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


# Buckets.


def test_buckets_are_made_listed_and_deleted(s3, server):
    s3.create_bucket(Bucket="life-of-a-bucket")
    s3.create_bucket(Bucket="life-of-a-bucket")
    listed = s3.list_buckets(Prefix="life-of")
    assert [bucket["Name"] for bucket in listed["Buckets"]] == ["life-of-a-bucket"]
    assert listed["Owner"]["ID"] == "1" * 64
    head = s3.head_bucket(Bucket="life-of-a-bucket")
    assert head["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket="life-of-a-bucket")["LocationConstraint"] is None
    s3.put_object(Bucket="life-of-a-bucket", Key="k", Body=b"x")
    assert failure(s3.delete_bucket, Bucket="life-of-a-bucket") == (409, "BucketNotEmpty")
    assert s3.get_object(Bucket="life-of-a-bucket", Key="k")["Body"].read() == b"x"
    s3.delete_object(Bucket="life-of-a-bucket", Key="k")
    s3.create_multipart_upload(Bucket="life-of-a-bucket", Key="open")
    s3.delete_bucket(Bucket="life-of-a-bucket")
    assert failure(s3.delete_bucket, Bucket="life-of-a-bucket") == (404, "NoSuchBucket")
    assert failure(server.client("other").create_bucket, Bucket="Not_A_Name")[0] == 400


def test_buckets_list_in_pages(s3):
    names = [f"page-{n}" for n in range(5)]
    for name in names:
        s3.create_bucket(Bucket=name)
    first = s3.list_buckets(Prefix="page-", MaxBuckets=3)
    rest = s3.list_buckets(Prefix="page-", MaxBuckets=3, ContinuationToken=first["ContinuationToken"])
    assert [bucket["Name"] for page in (first, rest) for bucket in page["Buckets"]] == names
    assert "ContinuationToken" not in rest


def test_a_name_belongs_to_one_account(server, s3, bucket):
    other = server.client("other")
    assert failure(other.create_bucket, Bucket=bucket) == (409, "BucketAlreadyExists")
    assert failure(other.list_objects_v2, Bucket=bucket) == (403, "AccessDenied")
    assert failure(other.put_object, Bucket=bucket, Key="k", Body=b"x") == (403, "AccessDenied")
    assert failure(other.delete_bucket, Bucket=bucket) == (403, "AccessDenied")
    assert server.client("alice").list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert failure(s3.list_objects_v2, Bucket=bucket, ExpectedBucketOwner=ACCOUNTS["other"][0]) == (403, "AccessDenied")


# Listings.

KEYS = ["a", "a/b", "a/b/c", "a/d", "b & <c>", "dir/ü", "dir/x", "plus+sign", "z"]


@pytest.fixture(scope="module")
def filled(s3):
    s3.create_bucket(Bucket="listings")
    for key in KEYS:
        s3.put_object(Bucket="listings", Key=key, Body=key.encode())
    return "listings"


@pytest.mark.parametrize("size,encoding", [(1, {}), (2, {}), (3, {}), (1000, {}), (1000, {"EncodingType": "url"})])
@pytest.mark.parametrize("prefix,delimiter", [("", ""), ("", "/"), ("a", "/"), ("a/", "/"), ("dir/", ""), ("none", "/")])
@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2", "list_object_versions"])
def test_listings_give_every_key_once(s3, filled, operation, prefix, delimiter, size, encoding):
    matching = [key for key in KEYS if key.startswith(prefix)]
    def rolled(key):
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        return key[: at + 1] if at >= 0 else None
    expected = sorted({rolled(key) or key for key in matching})
    pages = s3.get_paginator(operation).paginate(
        Bucket=filled, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}, **encoding
    )
    found = []
    for page in pages:
        decode = urllib.parse.unquote if encoding else str
        entries = [entry | {"Key": decode(entry["Key"])} for entry in page.get("Contents", page.get("Versions", []))]
        found += [entry["Key"] for entry in entries] + [decode(entry["Prefix"]) for entry in page.get("CommonPrefixes", [])]
        assert len(found) <= len(expected)
        for entry in entries:
            assert entry["Size"] == len(entry["Key"].encode())
            assert entry["ETag"] == f'"{hashlib.md5(entry["Key"].encode()).hexdigest()}"'
    assert sorted(found) == expected


def test_list_parameters(s3, server, filled):
    assert [e["Key"] for e in s3.list_objects_v2(Bucket=filled, StartAfter="dir/x")["Contents"]] == ["dir/ü", "plus+sign", "z"]
    assert "Owner" not in s3.list_objects_v2(Bucket=filled)["Contents"][0]
    assert s3.list_objects_v2(Bucket=filled, FetchOwner=True)["Contents"][0]["Owner"]["ID"] == "1" * 64
    assert s3.list_objects(Bucket=filled, MaxKeys=0)["IsTruncated"] is False
    assert failure(s3.list_objects_v2, Bucket=filled, ContinuationToken="!") == (400, "InvalidArgument")
    assert request(server, "GET", f"/{filled}?max-keys=x").told[:2] == (400, "InvalidArgument")
    versions = s3.list_object_versions(Bucket=filled)["Versions"]
    assert {version["VersionId"] for version in versions} == {"null"}


# Reading.


def test_conditions_and_ranges(s3, bucket):
    names = {"Bucket": bucket, "Key": "k"}
    etag = s3.put_object(**names, Body=b"0123456789")["ETag"]
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    assert s3.get_object(**names, IfMatch=etag)["Body"].read() == b"0123456789"
    assert failure(s3.get_object, **names, IfMatch='"x"') == (412, "PreconditionFailed")
    assert failure(s3.get_object, **names, IfNoneMatch=etag)[0] == 304
    assert failure(s3.head_object, **names, IfNoneMatch=etag)[0] == 304
    assert failure(s3.get_object, **names, IfUnmodifiedSince=past) == (412, "PreconditionFailed")
    assert s3.get_object(**names, IfModifiedSince=past)["ContentLength"] == 10
    for asked, got in [("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-2", b"89"), ("bytes=5-99", b"56789")]:
        answer = s3.get_object(**names, Range=asked)
        assert (answer["Body"].read(), answer["ResponseMetadata"]["HTTPStatusCode"]) == (got, 206)
    assert s3.get_object(**names, Range="bytes=3-1")["ContentLength"] == 10
    assert failure(s3.get_object, **names, Range="bytes=10-") == (416, "InvalidRange")
    assert failure(s3.get_object, Bucket=bucket, Key="none") == (404, "NoSuchKey")
    assert failure(s3.get_object, Bucket=bucket, Key="k", VersionId="0" * 32) == (404, "NoSuchVersion")


def test_metadata_and_overrides(s3, server, bucket):
    names = {"Bucket": bucket, "Key": "k"}
    s3.put_object(
        **names, Body=b"x", ContentType="text/x", CacheControl="no-cache", ContentEncoding="gzip", ContentLanguage="de",
        ContentDisposition="inline", Expires=datetime.datetime(2030, 1, 1), Metadata={"one": "1", "two": "zwei"},
    )
    head = s3.head_object(**names)
    assert (head["ContentType"], head["CacheControl"], head["ContentEncoding"]) == ("text/x", "no-cache", "gzip")
    assert head["Metadata"] == {"one": "1", "two": "zwei"}
    answer = s3.get_object(**names, ResponseContentType="text/y", ResponseCacheControl="max-age=1", ResponseContentDisposition="attachment")
    assert (answer["ContentType"], answer["CacheControl"], answer["ContentDisposition"]) == ("text/y", "max-age=1", "attachment")
    assert failure(s3.put_object, **names, Metadata={"k": "v" * 2048})[1] == "MetadataTooLarge"
    assert request(server, "PUT", f"/{bucket}/{'k' * 1025}", body=b"x").told[:2] == (400, "KeyTooLongError")
    assert failure(s3.put_object, **names, ACL="public-read")[1] == "AccessControlListNotSupported"
    lock = {"x-amz-object-lock-mode": "GOVERNANCE"}
    assert request(server, "PUT", f"/{bucket}/k", lock, b"x").told[:2] == (501, "NotImplemented")


def test_conditional_writes(s3, bucket):
    names = {"Bucket": bucket, "Key": "k"}
    etag = s3.put_object(**names, Body=b"1", IfNoneMatch="*")["ETag"]
    assert failure(s3.put_object, **names, Body=b"2", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert failure(s3.put_object, **names, Body=b"2", IfMatch='"other"') == (412, "PreconditionFailed")
    assert failure(s3.put_object, Bucket=bucket, Key="none", Body=b"2", IfMatch=etag) == (404, "NoSuchKey")
    s3.put_object(**names, Body=b"3", IfMatch=etag)
    assert failure(s3.delete_object, **names, IfMatch=etag) == (412, "PreconditionFailed")
    assert s3.get_object(**names)["Body"].read() == b"3"


def test_delete_objects_answers_for_every_key(server, s3, bucket):
    for key in ["a", "b", "c"]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "none"}, {"Key": "c", "VersionId": "null"}]})
    assert {entry["Key"] for entry in answer["Deleted"]} == {"a", "none", "c"}
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["b"]
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Quiet": True, "Objects": [{"Key": "b", "ETag": '"x"'}, {"Key": "z"}]})
    assert "Deleted" not in quiet and [entry["Code"] for entry in quiet["Errors"]] == ["PreconditionFailed"]
    body = b"<Delete><Object><Key>b</Key></Object></Delete>"
    assert request(server, "POST", f"/{bucket}?delete", body=body).told[:2] == (400, "InvalidRequest")


# Checksums.

ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]


@pytest.mark.parametrize("mode", ["s3", "kms", "sse-c"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_checksums_are_verified_kept_and_shown(server, s3, bucket, algorithm, mode):
    names, field = {"Bucket": bucket, "Key": "k"}, f"Checksum{algorithm}"
    put = s3.put_object(**names, Body=b"some text", ChecksumAlgorithm=algorithm, **sse.WRITE[mode])
    assert put["ChecksumType"] == "FULL_OBJECT"
    head = s3.head_object(**names, ChecksumMode="ENABLED", **sse.read(mode))
    assert head[field] == put[field]
    # boto3 does not encode the customer's key for this operation.
    digest = base64.b64encode(hashlib.md5(sse.CUSTOMER_KEY).digest()).decode()
    encoded = {"SSECustomerKey": base64.b64encode(sse.CUSTOMER_KEY).decode(), "SSECustomerKeyMD5": digest}
    customer = sse.read(mode) | encoded if mode == "sse-c" else {}
    attributes = s3.get_object_attributes(**names, ObjectAttributes=["Checksum", "ETag", "ObjectSize", "StorageClass"], **customer)
    assert attributes["Checksum"][field] == put[field]
    assert (attributes["ObjectSize"], attributes["ETag"]) == (9, put["ETag"].strip('"'))
    header = f"x-amz-checksum-{algorithm.lower()}"
    wrong = base64.b64encode(bytes(len(base64.b64decode(put[field])))).decode()
    assert request(server, "PUT", f"/{bucket}/bad", {header: wrong}, b"text").told[:2] == (400, "BadDigest")
    assert request(server, "PUT", f"/{bucket}/bad", {header: "AAAA"}, b"text").told[:2] == (400, "InvalidRequest")
    assert request(server, "HEAD", f"/{bucket}/bad").status == 404


def test_newer_algorithms_and_content_md5(server, s3, bucket):
    good = {"sha512": hashlib.sha512(b"text").digest(), "md5": hashlib.md5(b"text").digest()}
    for name, value in good.items():
        header = {f"x-amz-checksum-{name}": base64.b64encode(value).decode()}
        assert request(server, "PUT", f"/{bucket}/{name}", header, b"text").status == 200
        shown = request(server, "HEAD", f"/{bucket}/{name}", {"x-amz-checksum-mode": "ENABLED"})
        assert shown.headers[f"x-amz-checksum-{name}"] == base64.b64encode(value).decode()
        assert request(server, "PUT", f"/{bucket}/bad", header, b"other").told[:2] == (400, "BadDigest")
    for name, length in {"xxhash64": 8, "xxhash3": 8, "xxhash128": 16}.items():
        header = {f"x-amz-checksum-{name}": base64.b64encode(bytes(length)).decode()}
        assert request(server, "PUT", f"/{bucket}/bad", header, b"text").told[:2] == (400, "BadDigest")
    md5 = lambda body: {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    assert request(server, "PUT", f"/{bucket}/k", md5(b"text"), b"text").status == 200
    assert request(server, "PUT", f"/{bucket}/bad", md5(b"other"), b"text").told[:2] == (400, "BadDigest")
    assert request(server, "PUT", f"/{bucket}/bad", {"Content-MD5": "x"}, b"text").told[:2] == (400, "InvalidDigest")
    assert request(server, "HEAD", f"/{bucket}/bad").status == 404
    default = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert default["ChecksumCRC64NVME"]


@pytest.mark.parametrize("mode", ["s3", "kms"])
@pytest.mark.parametrize("algorithm,kind", [("CRC32", "FULL_OBJECT"), ("CRC32", "COMPOSITE"), ("CRC64NVME", "FULL_OBJECT"), ("SHA256", "COMPOSITE")])
def test_multipart_checksums(s3, bucket, algorithm, kind, mode):
    names, field = {"Bucket": bucket, "Key": "k"}, f"Checksum{algorithm}"
    body = sse.noise(5 * MIB + 1000)
    done = sse.upload(s3, bucket, "k", body, mode, [5 * MIB, 1000], ChecksumAlgorithm=algorithm, ChecksumType=kind)
    assert done["ChecksumType"] == kind
    if kind == "COMPOSITE":
        assert done[field].endswith("-2")
    elif algorithm == "CRC32":
        assert done[field] == base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    if algorithm == "SHA256":
        parts = b"".join(hashlib.sha256(piece).digest() for piece in (body[: 5 * MIB], body[5 * MIB :]))
        assert done[field] == base64.b64encode(hashlib.sha256(parts).digest()).decode() + "-2"
    head = s3.head_object(**names, ChecksumMode="ENABLED")
    assert (head[field], head["ChecksumType"]) == (done[field], kind)
    attributes = s3.get_object_attributes(**names, ObjectAttributes=["Checksum", "ObjectParts"])
    assert attributes["ObjectParts"]["TotalPartsCount"] == 2
    assert len(attributes["ObjectParts"]["Parts"]) == 2


def test_streaming_payloads_with_trailers(server, bucket):
    """The unsigned streaming mode by hand; the signed ones are what SDKs send over plain HTTP and the unit tests' vectors."""
    crc = base64.b64encode(zlib.crc32(b"hello world").to_bytes(4, "big")).decode()
    def put(checksum, length=11):
        body = f"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n".encode()
        headers = {
            "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "x-amz-decoded-content-length": str(length),
            "x-amz-trailer": "x-amz-checksum-crc32",
            "content-encoding": "aws-chunked",
        }
        return request_streaming(server, f"/{bucket}/streamed", headers, body)
    assert put(crc).status == 200
    got = request(server, "GET", f"/{bucket}/streamed")
    assert got.body == b"hello world" and "content-encoding" not in got.headers
    assert put("AAAAAA==").told[:2] == (400, "BadDigest")
    assert put(crc, 10).told[:2] == (400, "IncompleteBody")
    assert request(server, "GET", f"/{bucket}/streamed").body == b"hello world"


def request_streaming(server, path, headers, body):
    """Signs the headers as they are, with the streaming mode as the payload's hash."""

    class Streaming(S3SigV4Auth):
        def payload(self, request):
            return headers["x-amz-content-sha256"]

    base = server.endpoints["http"]
    signed = AWSRequest("PUT", base + path, headers=headers, data=body)
    Streaming(Credentials(*ACCOUNTS["main"][1:]), "s3", "us-east-1").add_auth(signed)
    return send(base, "PUT", path, dict(signed.headers.items()), body)


# Multipart uploads.


def test_multipart_lists_and_abort(s3, server, bucket):
    names = {"Bucket": bucket, "Key": "dir/k"}
    first = s3.create_multipart_upload(**names, ContentType="text/x", Metadata={"a": "b"})["UploadId"]
    second = s3.create_multipart_upload(**names)["UploadId"]
    other = s3.create_multipart_upload(Bucket=bucket, Key="other")["UploadId"]
    found, marker = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=1, **marker)
        found += [(upload["Key"], upload["UploadId"]) for upload in page.get("Uploads", [])]
        if not page["IsTruncated"]:
            break
        marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert found == [("dir/k", first), ("dir/k", second), ("other", other)]
    rolled = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [prefix["Prefix"] for prefix in rolled["CommonPrefixes"]] == ["dir/"]
    for number in range(1, 6):
        s3.upload_part(**names, UploadId=first, PartNumber=number, Body=bytes(number))
    pages = s3.get_paginator("list_parts").paginate(**names, UploadId=first, PaginationConfig={"PageSize": 2})
    assert [(part["PartNumber"], part["Size"]) for page in pages for part in page["Parts"]] == [(n, n) for n in range(1, 6)]
    before = len(server.blobs())
    s3.abort_multipart_upload(**names, UploadId=first)
    assert failure(s3.list_parts, **names, UploadId=first) == (404, "NoSuchUpload")
    assert failure(s3.upload_part, **names, UploadId=first, PartNumber=1, Body=b"x") == (404, "NoSuchUpload")
    assert failure(s3.abort_multipart_upload, **names, UploadId="nonsense") == (404, "NoSuchUpload")
    assert len(server.blobs()) <= before


def test_completion_holds_what_was_listed(s3, bucket):
    names = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**names)["UploadId"]
    part = lambda number, body: s3.upload_part(**names, UploadId=upload, PartNumber=number, Body=body)["ETag"]
    one, two, big = part(1, b"small"), part(2, b"last"), part(3, bytes(5 * MIB))
    complete = lambda *parts, **more: s3.complete_multipart_upload(
        **names, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": n, "ETag": e} for n, e in parts]}, **more
    )
    with pytest.raises(ClientError, match="EntityTooSmall"):
        complete((1, one), (2, two))
    with pytest.raises(ClientError, match="InvalidPartOrder"):
        complete((3, big), (2, two))
    with pytest.raises(ClientError, match="InvalidPart"):
        complete((3, one))
    with pytest.raises(ClientError, match="InvalidPart"):
        complete((7, one))
    again = part(1, bytes(5 * MIB))
    with pytest.raises(ClientError, match="InvalidPart"):
        complete((1, one), (2, two))
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(**names, Body=b"x")
        complete((1, again), (2, two), IfNoneMatch="*")
    done = complete((1, again), (2, two))
    gone = {"Parts": [{"PartNumber": 1, "ETag": "no tag at all"}]}
    assert failure(s3.complete_multipart_upload, **names, UploadId="0" * 32, MultipartUpload=gone) == (404, "NoSuchUpload")
    assert complete((1, again), (2, two))["ETag"] == done["ETag"], "a repeated completion answers the same"
    assert s3.get_object(**names)["ContentLength"] == 5 * MIB + 4
    digest = hashlib.md5(bytes.fromhex(again.strip('"')) + bytes.fromhex(two.strip('"'))).hexdigest()
    assert done["ETag"] == f'"{digest}-2"'
    assert s3.get_object(**names, PartNumber=2)["Body"].read() == b"last"
    assert s3.head_object(**names, PartNumber=1)["PartsCount"] == 2
    assert failure(s3.get_object, **names, PartNumber=3)[0] == 416
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


# Tags and documents.


def test_object_tagging(s3, bucket):
    names = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**names, Body=b"x", Tagging="a=1&b=two%20words")
    assert s3.get_object_tagging(**names)["TagSet"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "two words"}]
    assert s3.get_object(**names)["TagCount"] == 2
    s3.put_object_tagging(**names, Tagging={"TagSet": [{"Key": "c", "Value": ""}]})
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=names)
    assert s3.get_object_tagging(Bucket=bucket, Key="copy")["TagSet"] == [{"Key": "c", "Value": ""}]
    s3.delete_object_tagging(**names)
    assert s3.get_object_tagging(**names)["TagSet"] == []
    double = [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]
    assert failure(s3.put_object_tagging, **names, Tagging={"TagSet": double}) == (400, "InvalidTag")


def test_documents_answer_their_true_default(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    grant = s3.get_bucket_acl(Bucket=bucket)["Grants"][0]
    assert (grant["Permission"], grant["Grantee"]["ID"]) == ("FULL_CONTROL", "1" * 64)
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    for call, code in [
        (s3.get_bucket_policy, "NoSuchBucketPolicy"),
        (s3.get_bucket_tagging, "NoSuchTagSet"),
        (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
        (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
        (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
        (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
        (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
    ]:
        assert failure(call, Bucket=bucket) == (404, code)


def test_the_table_names_the_111_operations_of_the_model_and_the_form():
    assert len({row["name"] for row in operations("s3")} - {"PostObject"}) == 111


def test_an_unknown_sub_resource_is_never_taken_for_a_put_or_get(server, s3, bucket):
    assert request(server, "PUT", f"/{bucket}/k?surprise", body=b"x").status == 501
    assert request(server, "GET", f"/{bucket}?surprise").status == 501
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


# Who calls.


def test_presigned_urls(server, bucket):
    for version, form in [("s3v4", "X-Amz-Signature"), ("s3", "Signature")]:
        signer = server.client(signature_version=version)
        names = {"Bucket": bucket, "Key": f"dir/ü {version}"}
        url = signer.generate_presigned_url("put_object", Params=names, ExpiresIn=60)
        assert form in url
        put = urllib.request.Request(url, data=b"by url", method="PUT", headers={"Content-Type": ""})
        assert urllib.request.urlopen(put).status == 200
        url = signer.generate_presigned_url("get_object", Params=names, ExpiresIn=60)
        assert urllib.request.urlopen(url).read() == b"by url"
        at = url.index("Signature=") + len("Signature=")
        for broken in [url.replace("%20", "%21"), url[:at] + ("0000" if url[at : at + 4] != "0000" else "1111") + url[at + 4 :]]:
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(broken)
            assert caught.value.code == 403
        expired = signer.generate_presigned_url("get_object", Params=names, ExpiresIn=1)
        time.sleep(2.1)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(expired)
        assert b"Request has expired" in caught.value.read()


def test_signatures_are_checked(server, bucket):
    path = f"/{bucket}/k"
    assert request(server, "PUT", path, body=b"x").status == 200
    def change(name, value):
        return lambda headers: headers.__setitem__(name, value)
    told = lambda alter: request(server, "GET", path, change=alter).told[:2]
    assert told(change("x-amz-acl", "private")) == (403, "AccessDenied")
    assert told(change("X-Amz-Date", "20200101T000000Z"))[1] in ("RequestTimeTooSkewed", "AuthorizationHeaderMalformed")
    assert told(lambda headers: headers.update(Authorization=headers["Authorization"][:-4] + "0000")) == (403, "SignatureDoesNotMatch")
    assert told(lambda headers: headers.update(Authorization=headers["Authorization"].replace("AKIATESTMAIN", "AKIATESTNONE"))) == (403, "InvalidAccessKeyId")
    assert told(lambda headers: headers.pop("Authorization")) == (403, "AccessDenied")
    lied = request(server, "PUT", path, body=b"x", change=change("X-Amz-Content-SHA256", hashlib.sha256(b"y").hexdigest()))
    assert lied.told[:2] == (403, "SignatureDoesNotMatch")
    for version in (4, 2):
        assert request(server, "GET", path, version=version).body == b"x"


def test_a_body_that_is_not_the_signed_one_stores_nothing(server, bucket):
    base, path = server.endpoints["http"], f"/{bucket}/swapped"
    signed = AWSRequest("PUT", base + path, data=b"true")
    signed.context["payload_signing_enabled"] = True
    S3SigV4Auth(Credentials(*ACCOUNTS["main"][1:]), "s3", "us-east-1").add_auth(signed)
    answer = send(base, "PUT", path, dict(signed.headers.items()), b"fake")
    assert answer.told[:2] == (400, "XAmzContentSHA256Mismatch")
    assert request(server, "HEAD", path).status == 404


def test_virtual_hosted_addresses(server, bucket):
    base = server.endpoints["http"]
    port = base.rsplit(":", 1)[1]

    class Hosted:
        endpoints = {"http": f"http://{bucket}.s3.localhost:{port}"}

    known = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *rest, **more: known("127.0.0.1" if host.endswith("localhost") else host, *rest, **more)
    try:
        assert request(Hosted, "PUT", "/a%20key", body=b"hosted").status == 200
        assert request(Hosted, "GET", "/a%20key").body == b"hosted"
        assert request(Hosted, "GET", "/a%20key", version=4).headers["etag"]
        assert b"<Key>a key</Key>" in request(Hosted, "GET", "/?list-type=2").body
    finally:
        socket.getaddrinfo = known


def test_every_answer_bears_the_request_ids(server, bucket):
    for path in ["/", f"/{bucket}", f"/{bucket}/none"]:
        answer = request(server, "GET", path)
        assert len(answer.headers["x-amz-request-id"]) == 16 and answer.headers["x-amz-id-2"]
        if answer.error:
            assert answer.error["RequestId"] == answer.headers["x-amz-request-id"]
