"""Must show 5, on the running server: blobs that were damaged on disk give an error, never a wrong byte. Records and envelopes are
flipped byte by byte in the unit tests of storage, where they can be reached."""

import http.client
import random

import pytest
from botocore.exceptions import BotoCoreError, ClientError

import sse
from sse import noise

CHUNK = 65_536
SIZE = 3 * CHUNK + 1234


@pytest.fixture(scope="module", params=["s3", "bucket-key", "dsse", "sse-c"])
def stored(request, server, s3):
    """One object in one blob: how to read it, its bytes, and its file."""
    bucket, mode = f"tamper-{request.param}", request.param
    s3.create_bucket(Bucket=bucket)
    before = set(server.blobs())
    body = noise(SIZE, 23)
    s3.put_object(Bucket=bucket, Key="k", Body=body, **sse.WRITE[mode])
    (blob,) = set(server.blobs()) - before
    return {"Bucket": bucket, "Key": "k", **sse.read(mode)}, body, blob, CHUNK + (32 if mode == "dsse" else 16)


def outcome(s3, names, **more):
    """The bytes that a client accepts, or None when it is told of an error."""
    try:
        return s3.get_object(**names, **more)["Body"].read()
    except (ClientError, BotoCoreError, http.client.HTTPException, ConnectionError):
        return None


def with_file(blob, content, check):
    """Runs `check` while the blob has other content."""
    original = blob.read_bytes()
    blob.write_bytes(content)
    try:
        check()
    finally:
        blob.write_bytes(original)


def test_any_flipped_byte_is_an_error(s3, stored):
    names, body, blob, _ = stored
    original = blob.read_bytes()
    chance = random.Random(5)
    places = [0, 15, CHUNK - 1, CHUNK, CHUNK + 15, len(original) - 1] + [chance.randrange(len(original)) for _ in range(60)]
    for place in places:
        broken = bytearray(original)
        broken[place] ^= 1 << chance.randrange(8)
        def check():
            assert outcome(s3, names) is None, place
            untouched = outcome(s3, names, Range="bytes=0-9")
            assert untouched in (None, body[:10])
        with_file(blob, bytes(broken), check)
    assert outcome(s3, names) == body


def test_truncation_at_every_chunk_border_is_an_error(s3, stored):
    names, body, blob, chunk = stored
    original = blob.read_bytes()
    for cut in [0, 1, chunk - 1, chunk, 2 * chunk, 3 * chunk, len(original) - 1]:
        def check():
            assert outcome(s3, names) is None, cut
        with_file(blob, original[:cut], check)


def test_swapped_repeated_and_dropped_chunks_are_errors(s3, stored):
    names, body, blob, chunk = stored
    pieces = [blob.read_bytes()[start : start + chunk] for start in range(0, len(blob.read_bytes()), chunk)]
    for order in [(1, 0, 2, 3), (0, 0, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2, 2, 3), (3, 1, 2, 0)]:
        def check():
            assert outcome(s3, names) is None, order
            assert outcome(s3, names, Range="bytes=0-99") in (None, body[:100])
        with_file(blob, b"".join(pieces[n] for n in order), check)


def test_a_blob_in_anothers_place_is_an_error(server, s3, stored):
    names, body, blob, _ = stored
    place = {name: value for name, value in names.items() if name != "Key"}
    mode = names["Bucket"].removeprefix("tamper-")
    before = set(server.blobs())
    s3.put_object(Bucket=names["Bucket"], Key="other", Body=noise(SIZE, 24), **sse.WRITE[mode])
    (other,) = set(server.blobs()) - before
    def check():
        assert outcome(s3, names) is None
    with_file(blob, other.read_bytes(), check)
    assert outcome(s3, place | {"Key": "other"}) == noise(SIZE, 24)


def test_a_missing_blob_is_an_error_and_not_an_empty_object(s3, stored):
    names, body, blob, _ = stored
    hidden = blob.with_suffix(".hidden")
    blob.rename(hidden)
    try:
        with pytest.raises(ClientError) as caught:
            s3.get_object(**names)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    finally:
        hidden.rename(blob)
    assert outcome(s3, names) == body


def test_a_first_chunk_that_fails_is_a_500_and_a_later_one_resets_the_connection(s3, stored):
    names, body, blob, chunk = stored
    original = bytearray(blob.read_bytes())
    first, later = bytearray(original), bytearray(original)
    first[10] ^= 1
    later[2 * chunk + 10] ^= 1
    def check_first():
        with pytest.raises(ClientError) as caught:
            s3.get_object(**names)
        assert caught.value.response["Error"]["Code"] == "InternalError"
    with_file(blob, bytes(first), check_first)
    def check_later():
        with pytest.raises((BotoCoreError, http.client.HTTPException)):
            s3.get_object(**names)["Body"].read()
    with_file(blob, bytes(later), check_later)


@pytest.mark.parametrize("mode", sse.MODES)
def test_every_byte_of_a_small_blob(server, s3, bucket, mode):
    """A part is a file however small it is, so each of its bytes can be flipped in turn."""
    before = set(server.blobs())
    sse.upload(s3, bucket, "k", b"a small part", mode, [12])
    (blob,) = set(server.blobs()) - before
    names = {"Bucket": bucket, "Key": "k", **sse.read(mode)}
    original = blob.read_bytes()
    assert len(original) == 12 + (32 if mode == "dsse" else 16)
    for place in range(len(original)):
        broken = bytearray(original)
        broken[place] ^= 1 << place % 8
        def check():
            assert outcome(s3, names) is None, place
        with_file(blob, bytes(broken), check)
    assert outcome(s3, names) == b"a small part"


@pytest.mark.parametrize("mode", ["s3", "dsse"])
def test_parts_of_a_multipart_object(server, s3, bucket, mode):
    """A flipped byte in any part, and two parts' blobs in each other's place."""
    size = 5 << 20
    before = set(server.blobs())
    body = noise(2 * size + 100, 31)
    sse.upload(s3, bucket, "k", body, mode, [size, size, 100])
    names = {"Bucket": bucket, "Key": "k"}
    blobs = sorted(set(server.blobs()) - before, key=lambda path: path.stat().st_size)
    assert len(blobs) == 3
    for blob in blobs:
        broken = bytearray(blob.read_bytes())
        broken[len(broken) // 2] ^= 1
        def check():
            assert outcome(s3, names) is None
        with_file(blob, bytes(broken), check)
    one, two = blobs[1].read_bytes(), blobs[2].read_bytes()
    def swapped():
        def check():
            assert outcome(s3, names) is None
        with_file(blobs[2], one, check)
    with_file(blobs[1], two, swapped)
    assert outcome(s3, names) == body
