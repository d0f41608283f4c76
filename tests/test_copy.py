"""Must show 3: the copy matrix: from and to every kind of encryption, to the same and to another bucket, from single and from
multipart sources, by CopyObject and by UploadPartCopy."""

import itertools

import pytest

import sse
from sse import MODES, noise

MIB = 1 << 20
SOURCES = {"single": (100_001, None), "multipart": (5 * MIB + 70_001, [5 * MIB, 70_001])}


@pytest.fixture(scope="module")
def sources(s3):
    """One bucket with a single and a multipart object of every kind, and another bucket."""
    here, there = "copy-matrix-here", "copy-matrix-there"
    for name in (here, there):
        s3.create_bucket(Bucket=name)
    for mode, kind in itertools.product(MODES, SOURCES):
        size, parts = SOURCES[kind]
        sse.upload(s3, here, f"{mode}/{kind}", noise(size, 11), mode, parts)
    return here, there


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("target", MODES)
@pytest.mark.parametrize("origin", MODES)
def test_copy_object(s3, sources, origin, target, kind):
    for bucket in sources:
        names = {"Bucket": bucket, "Key": f"copied/{origin}/{target}/{kind}"}
        source = {"Bucket": sources[0], "Key": f"{origin}/{kind}"}
        answer = s3.copy_object(**names, CopySource=source, **sse.WRITE[target], **sse.source(origin))
        sse.check(target, answer)
        got = s3.get_object(**names, **sse.read(target))
        assert got["Body"].read() == noise(SOURCES[kind][0], 11)
        sse.check(target, got)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("target", MODES)
@pytest.mark.parametrize("origin", MODES)
def test_upload_part_copy(s3, sources, origin, target, kind):
    body = noise(SOURCES[kind][0], 11)
    names = {"Bucket": sources[1], "Key": f"parts/{origin}/{target}/{kind}"}
    source = {"Bucket": sources[0], "Key": f"{origin}/{kind}"}
    upload = s3.create_multipart_upload(**names, **sse.WRITE[target])["UploadId"]
    part = {**names, "UploadId": upload, **sse.part(target), **sse.source(origin), "CopySource": source}
    ranges = [(None, body)] if kind == "single" else [((0, 5 * MIB - 1), body[: 5 * MIB]), ((65_000, 70_000), body[65_000:70_001])]
    listed, expected = [], b""
    for number, (span, piece) in enumerate(ranges, 1):
        spans = {"CopySourceRange": f"bytes={span[0]}-{span[1]}"} if span else {}
        answer = s3.upload_part_copy(**part, PartNumber=number, **spans)["CopyPartResult"]
        sums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
        listed.append({"PartNumber": number, "ETag": answer["ETag"], **sums})
        expected += piece
    s3.complete_multipart_upload(**names, UploadId=upload, MultipartUpload={"Parts": listed}, **sse.read(target))
    assert s3.get_object(**names, **sse.read(target))["Body"].read() == expected


def test_a_copy_onto_itself_changes_the_encryption(s3, bucket):
    names = {"Bucket": bucket, "Key": "k"}
    s3.put_object(**names, Body=b"text", Metadata={"a": "b"})
    etags = set()
    for mode in ["kms", "dsse", "bucket-key", "s3"]:
        asked = sse.WRITE[mode] or {"ServerSideEncryption": "AES256"}
        answer = s3.copy_object(**names, CopySource=names, **asked)
        etags.add(answer["CopyObjectResult"]["ETag"])
        head = s3.head_object(**names)
        sse.check(mode, head)
        assert head["Metadata"] == {"a": "b"}
    assert len(etags) == 4
