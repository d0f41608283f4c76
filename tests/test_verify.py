"""`tresor verify`: an honest store of every kind of encryption is found right, with the server running and stopped, and nothing in its
directory changes; each kind of damage is found, named, and gives the exit status 1."""

import hashlib
import json
import os
import shutil
import subprocess
import threading

import boto3
import pytest

import sse
from harness import ACCOUNTS, KEY_ID, REGION, Server, binary

LARGE = 6 << 20


def environment(server):
    """In which a command finds the root key as the development server does."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(server.home), "XDG_CONFIG_HOME": str(server.home / "config")}


def verify(server, *arguments, data=None):
    """The exit status and the report; with the server stopped, the root key is found as the server found it."""
    command = [binary(), "verify", "--json", "--config", str(server.config), "--data-dir", str(data or server.data), "--dev", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(server))
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def fill(server):
    s3, kms = server.client(), server.kms()
    s3.create_bucket(Bucket="looked-at")
    s3.create_bucket(Bucket="empty")
    for number, mode in enumerate(sse.MODES):
        for name, size in [("small", 300), ("large", 200_000)]:
            s3.put_object(Bucket="looked-at", Key=f"{mode}-{name}", Body=sse.noise(size, number), **sse.WRITE[mode], ChecksumAlgorithm="SHA256")
        sse.upload(s3, "looked-at", f"{mode}-parts", sse.noise(LARGE, number), mode, [5 << 20, 1 << 20])
    s3.put_object(Bucket="looked-at", Key="s3-small", Body=b"replaced")
    s3.put_object(Bucket="looked-at", Key="gone", Body=sse.noise(100_000))
    s3.delete_object(Bucket="looked-at", Key="gone")
    upload = s3.create_multipart_upload(Bucket="looked-at", Key="unfinished", **sse.WRITE["kms"])["UploadId"]
    s3.upload_part(Bucket="looked-at", Key="unfinished", UploadId=upload, PartNumber=3, Body=sse.noise(70_000))
    disabled = kms.create_key()["KeyMetadata"]["KeyId"]
    s3.put_object(Bucket="looked-at", Key="under-disabled", Body=b"x" * 100, ServerSideEncryption="aws:kms", SSEKMSKeyId=disabled)
    kms.disable_key(KeyId=disabled)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket="empty", ServerSideEncryptionConfiguration={"Rules": [rule]})


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    home = tmp_path_factory.mktemp("verify") / "s"
    home.mkdir()
    server = Server(home).start()
    fill(server)
    identities(server)
    return server


@pytest.fixture(scope="module")
def honest(filled, tmp_path_factory):
    """The stopped server's directory, to be damaged in copies."""
    if filled.process.poll() is None:
        filled.stop()
    kept = tmp_path_factory.mktemp("honest") / "data"
    shutil.copytree(filled.data, kept, symlinks=True)
    return kept


def identities(server):
    """A user with a key and a policy, a group, a role and a managed policy."""
    iam = server.client(service="iam")
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNTS["main"][0]}, "Action": "sts:AssumeRole"}
    document = lambda statement: json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.create_user(UserName="looked-at")
    iam.put_user_policy(UserName="looked-at", PolicyName="p", PolicyDocument=document(allow))
    iam.create_group(GroupName="looked-at")
    iam.add_user_to_group(GroupName="looked-at", UserName="looked-at")
    iam.create_role(RoleName="looked-at", AssumeRolePolicyDocument=document(trust))
    policy = iam.create_policy(PolicyName="looked-at", PolicyDocument=document(allow))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="looked-at", PolicyArn=policy)
    return iam.create_access_key(UserName="looked-at")["AccessKey"]


def state(directory):
    """Every file: its bytes, mode, size and time of change."""
    found = {}
    for path in sorted(directory.rglob("*")):
        about = path.lstat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(directory))] = (digest, about.st_mode, about.st_size, about.st_mtime_ns)
    return found


def right(report):
    assert report["ok"] and report["problems"] == [] and report["problem_count"] == 0, report
    assert report["objects"] == 3 * len(sse.MODES) + 1 and report["uploads"] == 1 and report["buckets"] == 2
    modes = {mode: sums["objects"] for mode, sums in report["encryption"].items()}
    assert modes == {"SSE-S3": 3, "SSE-KMS": 4, "SSE-KMS, bucket key": 3, "DSSE-KMS": 3, "SSE-C": 3}
    assert report["not_opened"] == {"customer_key_needed": 3, "key_destroyed": 0}
    # Everything but SSE-C, and the part of the upload.
    expected = 3 * (LARGE + 200_300) + LARGE + 200_000 + len(b"replaced") + 100 + 70_000
    assert report["authenticated_bytes"] == expected
    assert report["identities"] == 4


def test_a_running_server_verifies_itself(filled):
    status, report = verify(filled)
    assert status == 0, report
    right(report)


def test_writers_beside_it_make_no_false_alarm(filled):
    s3 = filled.client()
    s3.create_bucket(Bucket="busy")
    stop = threading.Event()

    def write(number):
        turn = 0
        while not stop.is_set():
            name = f"{number}-{turn % 4}"
            s3.put_object(Bucket="busy", Key=name, Body=sse.noise([200, 90_000][turn % 2], turn))
            if turn % 3 == 0:
                s3.delete_object(Bucket="busy", Key=name)
            if turn % 5 == 0:
                sse.upload(s3, "busy", name, sse.noise(1000), "s3", [1000])
            turn += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(3):
            status, report = verify(filled)
            assert status == 0, report["problems"]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    for entry in s3.list_objects_v2(Bucket="busy").get("Contents", []):
        s3.delete_object(Bucket="busy", Key=entry["Key"])
    s3.delete_bucket(Bucket="busy")


def test_a_stopped_store_is_right_and_stays_untouched(filled, honest):
    before = state(filled.data)
    status, report = verify(filled)
    assert status == 0, report
    right(report)
    assert state(filled.data) == before


def test_a_backup_of_keys_opens_identities_and_holds_none(filled, honest, tmp_path):
    """The rows come back with the data directory, and open with the header that the backup has."""
    (tmp_path / "s").mkdir()
    server = Server(tmp_path / "s").start()
    key = identities(server)
    rows, secrets = tmp_path / "rows", tmp_path / "secrets"
    server.tresor("keys", "backup", str(rows), "--erasure-to", str(secrets))
    for kept in rows.iterdir():
        assert b"looked-at" not in kept.read_bytes() and key["AccessKeyId"].encode() not in kept.read_bytes()
    server.stop()
    (server.data / "store.tresor").unlink()
    command = [binary(), "keys", "restore", str(rows), "--erasure-from", str(secrets), "--dev"]
    command += ["--config", str(server.config), "--data-dir", str(server.data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(server))
    assert done.returncode == 0, done.stderr
    status, report = verify(server)
    assert status == 0 and report["identities"] == 4, report
    server.start()
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoints["http"],
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        region_name=REGION,
    )
    assert client.list_buckets()["Buckets"] == []
    server.stop()


def test_for_people_it_says_lines(filled, honest):
    command = [binary(), "verify", "--config", str(filled.config), "--data-dir", str(filled.data), "--dev"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(filled))
    assert done.returncode == 0, done.stderr
    assert "nothing is wrong" in done.stdout and "SSE-KMS, bucket key: 3 objects" in done.stdout
    assert "3 objects under SSE-C" in done.stdout


def test_after_a_kill_the_log_is_read_and_not_replayed(tmp_path):
    (tmp_path / "s").mkdir()
    server = Server(tmp_path / "s").start()
    s3 = server.client()
    s3.create_bucket(Bucket="looked-at")
    for number in range(20):
        s3.put_object(Bucket="looked-at", Key=str(number), Body=b"x" * 1000)
    server.kill()
    before = state(server.data)
    # The socket of the killed server is still there.
    status, report = verify(server)
    assert state(server.data) == before
    assert report["objects"] == 20 and {problem["kind"] for problem in report["problems"]} <= {"audit", "orphan"}, report


@pytest.fixture
def damaged(filled, honest, tmp_path):
    """A copy to damage; what is wrong with it afterwards."""
    data = tmp_path / "data"
    shutil.copytree(honest, data, symlinks=True)

    def wrong():
        status, report = verify(filled, data=data)
        assert (status == 0) == report["ok"] == (report["problems"] == [])
        return [(problem["kind"], problem["bucket"], problem["name"], problem["what"]) for problem in report["problems"]]

    return data, wrong


def blobs(data, least=0):
    return sorted((path for path in (data / "blobs").rglob("*") if path.is_file() and path.stat().st_size >= least), key=lambda path: path.stat().st_size)




def test_a_flipped_byte(damaged):
    data, wrong = damaged
    found = set()
    for blob in blobs(data):
        content = bytearray(blob.read_bytes())
        content[len(content) // 2] ^= 1
        blob.write_bytes(content)
    for kind, bucket, name, what in wrong():
        assert (kind, bucket) == ("damaged", "looked-at") and "does not open" in what
        found.add(name.split(" ")[0])
    # SSE-C cannot be opened here; everything else that lies in blobs is named.
    assert found == {f"{mode}-{name}" for mode in sse.MODES if mode != "sse-c" for name in ("large", "parts")} | {"unfinished"}


def test_two_swapped_blobs(damaged):
    data, wrong = damaged
    first, second = [blob for blob in blobs(data) if 200_000 < blob.stat().st_size < 200_100][:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    found = wrong()
    assert found and all(kind in ("damaged", "length") and bucket == "looked-at" and name.endswith("-large") for kind, bucket, name, _ in found), found


def test_a_missing_a_shorter_and_a_longer_blob(damaged):
    data, wrong = damaged
    gone, shorter, longer = blobs(data, 1 << 20)[:3]
    gone.unlink()
    shorter.write_bytes(shorter.read_bytes()[:-1])
    longer.write_bytes(longer.read_bytes() + b"\0")
    found = wrong()
    assert sorted(kind for kind, *_ in found) == ["length", "length", "missing"]
    assert all(name.endswith("-parts") for _, _, name, _ in found)
    assert any("is gone" in what for *_, what in found)


def test_files_that_do_not_belong_there(damaged):
    data, wrong = damaged
    blob = blobs(data)[0]
    foreign = data / "blobs" / ("ab" * 16) / blob.parent.name / blob.name
    foreign.parent.mkdir(parents=True)
    shutil.copy(blob, foreign)
    orphan = blob.with_name("0" * len(blob.name))
    shutil.copy(blob, orphan)
    stray = data / "blobs" / "notes"
    stray.write_bytes(os.urandom(5000))
    plain = blob.parent / "plain.txt"
    plain.write_text("the plaintext of an object, as someone put it here\n" * 100)
    named = blob.with_name("1" * len(blob.name))
    named.write_text("plaintext under the name of a blob " * 100)
    relative = lambda path: str(path.relative_to(data / "blobs"))
    found = {(kind, name): what for kind, _, name, what in wrong()}
    assert set(found) == {
        ("foreign", relative(foreign)),
        ("orphan", relative(orphan)),
        ("foreign", "notes"),
        ("plaintext", relative(plain)),
        ("plaintext", relative(named)),
    }
    assert "a bucket that this store does not have" in found["foreign", relative(foreign)]


def test_a_blob_of_sse_c_that_is_plaintext_is_found_without_its_key(damaged):
    data, wrong = damaged
    # The last one of its length: sse.MODES ends with SSE-C, and slots and owners ascend with time.
    same = sorted(blob for blob in blobs(data) if blob.stat().st_size == 200_000 + 4 * 16)
    same[-1].write_bytes(b"A customer's letter. " * 20_000 + b"x" * 16)
    content = (b"A customer's letter. " * 20_000)[: 200_000 + 4 * 16]
    same[-1].write_bytes(content)
    assert ("plaintext", str(same[-1].relative_to(data / "blobs"))) in [(kind, name) for kind, _, name, _ in wrong()]


def test_erasure_secrets(damaged):
    data, wrong = damaged
    (data / "erasure" / KEY_ID).rename(data / "erasure" / ("f" * 8 + KEY_ID[8:]))
    found = wrong()
    secrets = [(name, what) for kind, _, name, what in found if kind == "secret"]
    assert any(KEY_ID in name and "is gone" in what for name, what in secrets)
    assert any("no key needs it" in what for _, what in secrets)
    # Every object under the key is named too.
    under = {name.split(" ")[0] for kind, bucket, name, _ in found if kind == "key" and bucket}
    assert {f"{mode}-{name}" for mode in ("kms", "bucket-key", "dsse") for name in ("small", "large", "parts")} <= under


def test_an_audit_trail_that_was_edited(damaged):
    data, wrong = damaged
    file = next((data / "audit").glob("*.jsonl"))
    file.write_bytes(file.read_bytes().replace(b"CreateKey", b"CreateKez", 1))
    assert [kind for kind, *_ in wrong()] == ["audit"]


def test_a_store_that_is_not_there_or_in_use_is_not_verified(filled, honest, tmp_path):
    command = [binary(), "verify", "--config", str(filled.config), "--data-dir", str(tmp_path / "none"), "--dev"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "cannot be used" in done.stderr and not (tmp_path / "none").exists()
