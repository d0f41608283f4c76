"""Must show 7: the server is killed with SIGKILL at random moments while clients write. Every acknowledged object reads back
identical, none is torn, blobs that no commit names are collected, and every acknowledged write has exactly one event."""

import collections
import json
import os
import random
import threading
import time

from botocore.exceptions import BotoCoreError, ClientError

import sse
from harness import Server

ROUNDS = int(os.environ.get("TRESOR_CRASHES", "50"))
WRITERS = 4
SIZES = [1, 1000, 32_000, 33_000, 70_000, 900_000]
PART = 5 << 20
# Bodies up to this size lie beside their record; larger ones are files.
INLINE = 32 * 1024


class Writer(threading.Thread):
    """Writes until the server dies: what was acknowledged, and the one write whose fate is unknown."""

    def __init__(self, s3, name, seed, part):
        super().__init__()
        self.s3, self.label, self.chance, self.part = s3, name, random.Random(seed), part
        self.acknowledged, self.unknown = {}, None
        # How often a key's write was acknowledged.
        self.writes = collections.Counter()

    def run(self):
        try:
            for number in range(10_000):
                self.write(number)
        except (ClientError, BotoCoreError, ConnectionError, OSError):
            return

    def write(self, number):
        mode = self.chance.choice(["s3", "s3", "kms", "sse-c"])
        if self.chance.random() < 0.1:
            parts = [PART, 1000 + number]
            body = self.part + sse.noise(parts[1], number)
        else:
            parts, body = None, sse.noise(self.chance.choice(SIZES), number)
        # Every third write goes over an older object of the same kind.
        key = f"{self.label}/{mode}/{number % 3 if number % 3 == 0 else number}"
        self.unknown = (key, body)
        sse.upload(self.s3, "crash", key, body, mode, parts)
        self.acknowledged[key] = body
        self.writes[key] += 1
        self.unknown = None


def read(s3, key):
    try:
        return s3.get_object(Bucket="crash", Key=key, **sse.read(key.split("/")[-2]))["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None


def check(s3, writers):
    """Everything acknowledged is there; the unknown write happened or did not; nothing else is visible."""
    for writer in writers:
        key, body = writer.unknown or (None, None)
        for acknowledged, expected in writer.acknowledged.items():
            got = read(s3, acknowledged)
            assert got == expected or (acknowledged == key and got == body), f"{acknowledged} was acknowledged"
        if key and key not in writer.acknowledged:
            assert read(s3, key) in (None, body), f"{key} is torn"
    allowed = {key for writer in writers for key in [*writer.acknowledged, (writer.unknown or (None,))[0]]}
    labels = {writer.label for writer in writers}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="crash"):
        for entry in page.get("Contents", []):
            assert entry["Key"].rsplit("/", 2)[0] not in labels or entry["Key"] in allowed, entry


def check_events(server, writers):
    """Every acknowledged write has its event, one of unknown fate at most one, and no event is there twice."""
    events = [json.loads(line)["event"] for file in sorted((server.data / "audit").glob("*.jsonl")) for line in file.open()]
    ids = collections.Counter(event["eventID"] for event in events)
    assert max(ids.values()) == 1, ids.most_common(3)
    done = {"PutObject", "CompleteMultipartUpload"}
    told = collections.Counter(
        event["requestParameters"]["key"] for event in events if event["eventName"] in done and "errorCode" not in event
    )
    for writer in writers:
        for key, writes in writer.writes.items():
            unknown = int(bool(writer.unknown) and writer.unknown[0] == key)
            assert writes <= told[key] <= writes + unknown, (key, writes, told[key])


def needed_blobs(s3):
    """How many files the visible objects and the open uploads need."""
    count = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="crash"):
        for entry in page.get("Contents", []):
            tag = entry["ETag"].strip('"')
            sealed = entry["Size"] + 16 * max(1, -(-entry["Size"] // 65_536))
            count += int(tag.split("-")[1]) if "-" in tag else int(sealed > INLINE)
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket="crash"):
        for upload in page.get("Uploads", []):
            names = {"Bucket": "crash", "Key": upload["Key"], "UploadId": upload["UploadId"]}
            count += len(s3.list_parts(**names).get("Parts", []))
    return count


def test_kill_9_loses_nothing_acknowledged_and_leaves_nothing_behind(tmp_path):
    chance = random.Random(2026)
    part = sse.noise(PART, 99)
    server = Server(tmp_path).start()
    server.client().create_bucket(Bucket="crash")
    acknowledged, everyone = 0, []
    for crash in range(ROUNDS):
        s3 = server.client()
        writers = [Writer(s3, f"{crash}-{n}", crash * 100 + n, part) for n in range(WRITERS)]
        for writer in writers:
            writer.start()
        time.sleep(chance.uniform(0.02, 0.6))
        server.kill()
        for writer in writers:
            writer.join()
        server.start()
        check(server.client(), writers)
        everyone += writers
        acknowledged += sum(len(writer.acknowledged) for writer in writers)
    assert acknowledged > ROUNDS, "the rounds were too short to show anything"
    s3 = server.client()
    deadline = time.monotonic() + 30
    while (found := len(server.blobs())) != (needed := needed_blobs(s3)):
        assert time.monotonic() < deadline, f"{found} blobs for {needed}"
        time.sleep(0.2)
    server.stop()
    check_events(server, everyone)
