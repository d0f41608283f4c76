"""Must show 2: every kind of encryption and every size around a border comes back byte for byte, whole and in ranges, through
boto3, the aws CLI, rclone and s5cmd."""

import random

import pytest

import sse
from sse import MODES, noise

MIB = 1 << 20
# Size and, for a multipart upload, the sizes of its parts.
SIZES = {
    "0": (0, None),
    "1": (1, None),
    "64K-1": (65_535, None),
    "64K": (65_536, None),
    "64K+1": (65_537, None),
    "8M+1": (8 * MIB + 1, [5 * MIB, 3 * MIB + 1]),
    "256M": (256 * MIB, [5 * MIB + 3, 64 * MIB, 5 * MIB, 100 * MIB + 7, 80 * MIB - 10, 2 * MIB]),
}
RANGES = 200


@pytest.fixture(scope="module")
def bodies():
    return {name: noise(size, 7) for name, (size, _) in SIZES.items()}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_boto3_reads_back_what_it_wrote_whole_and_in_ranges(s3, shared_bucket, bodies, mode, size):
    body, key = bodies[size], f"roundtrip/{mode}/{size}"
    names = {"Bucket": shared_bucket, "Key": key}
    sse.upload(s3, shared_bucket, key, body, mode, SIZES[size][1])
    answer = s3.get_object(**names, **sse.read(mode))
    assert answer["Body"].read() == body
    sse.check(mode, answer)
    sse.check(mode, s3.head_object(**names, **sse.read(mode)))
    chance = random.Random(f"{mode}{size}")
    for _ in range(RANGES if body else 0):
        first = chance.randrange(len(body))
        last = min(len(body) - 1, first + int(2 ** chance.uniform(0, 20)))
        answer = s3.get_object(**names, Range=f"bytes={first}-{last}", **sse.read(mode))
        assert answer["ContentRange"] == f"bytes {first}-{last}/{len(body)}"
        assert answer["Body"].read() == body[first : last + 1], (first, last)
    s3.delete_object(**names)


CLI = {
    "s3": [],
    "kms": ["--sse", "aws:kms", "--sse-kms-key-id", sse.KEY_ID],
    "sse-c": ["--sse-c", "AES256", "--sse-c-key", "fileb://KEY"],
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", CLI)
def test_aws_s3_cp_round_trips(server, shared_bucket, bodies, tmp_path, mode, size):
    (tmp_path / "key").write_bytes(sse.CUSTOMER_KEY)
    flags = [flag.replace("KEY", str(tmp_path / "key")) for flag in CLI[mode]]
    (tmp_path / "up").write_bytes(bodies[size])
    url = f"s3://{shared_bucket}/cli/{mode}/{size}"
    server.run("aws", "s3", "cp", "--no-progress", str(tmp_path / "up"), url, *flags, endpoint="https")
    back = flags if mode == "sse-c" else []
    server.run("aws", "s3", "cp", "--no-progress", url, str(tmp_path / "down"), *back, endpoint="https")
    assert (tmp_path / "down").read_bytes() == bodies[size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode,flags", [("dsse", ["aws:kms:dsse"]), ("bucket-key", ["aws:kms", "--bucket-key-enabled"])])
def test_aws_s3api_round_trips_what_s3_cp_cannot_ask_for(server, shared_bucket, bodies, tmp_path, mode, flags, size):
    (tmp_path / "up").write_bytes(bodies[size])
    names = ["--bucket", shared_bucket, "--key", f"s3api/{mode}/{size}"]
    command = ["aws", "s3api", "put-object", *names, "--body", str(tmp_path / "up")]
    server.run(*command, "--ssekms-key-id", sse.KEY_ID, "--server-side-encryption", *flags)
    server.run("aws", "s3api", "get-object", *names, str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == bodies[size]


@pytest.mark.parametrize("size", ["0", "1", "64K+1", "8M+1"])
@pytest.mark.parametrize("flags", [[], ["--sse", "aws:kms", "--sse-kms-key-id", sse.KEY_ID]], ids=["s3", "kms"])
def test_s5cmd_round_trips(server, shared_bucket, bodies, tmp_path, flags, size):
    (tmp_path / "up").write_bytes(bodies[size])
    url = f"s3://{shared_bucket}/s5cmd/{len(flags)}/{size}"
    s5cmd = ["s5cmd", "--endpoint-url", server.endpoints["http"]]
    server.run(*s5cmd, "cp", *flags, str(tmp_path / "up"), url)
    server.run(*s5cmd, "cp", url, str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == bodies[size]


@pytest.mark.parametrize("size", ["0", "1", "64K+1", "8M+1"])
@pytest.mark.parametrize("mode", ["s3", "kms", "sse-c"])
def test_rclone_round_trips(server, shared_bucket, bodies, tmp_path, mode, size):
    (tmp_path / "up").write_bytes(bodies[size])
    flags = {
        "s3": [],
        "kms": ["--s3-server-side-encryption", "aws:kms", "--s3-sse-kms-key-id", sse.KEY_ARN],
        "sse-c": ["--s3-sse-customer-algorithm", "AES256", "--s3-sse-customer-key", "0123456789abcdef0123456789abcdef"],
    }[mode]
    rclone = ["rclone", "--config", "/dev/null", "--s3-provider", "Other", "--s3-env-auth", "--s3-upload-cutoff", "5Mi"]
    rclone += ["--s3-chunk-size", "5Mi", "--s3-endpoint", server.endpoints["http"], "--s3-no-check-bucket", *flags]
    remote = f":s3:{shared_bucket}/rclone/{mode}/{size}"
    server.run(*rclone, "copyto", str(tmp_path / "up"), remote)
    server.run(*rclone, "copyto", remote, str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == bodies[size]
