"""Must show 7, the other half: a killed process keeps the page cache, a machine without power does not. The server runs over a
wrapper that keeps only what was synced (tests/shadow); a second server then starts on exactly that and must have everything that
was acknowledged, and nothing that was acknowledged as deleted."""

import os
import random
import shutil
import subprocess
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError

import sse
from harness import Server


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    source = os.path.join(os.path.dirname(__file__), "shadow", "shadow.c")
    built = tmp_path_factory.mktemp("shadow") / "shadow.so"
    subprocess.run(["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", built, source, "-ldl"], check=True)
    return built


def restore(copies, inode, to):
    """Builds a directory from the copies: names as they were synced, files as they were synced, else empty."""
    to.mkdir()
    listing = copies / f"dir-{inode}"
    for line in listing.read_text().splitlines() if listing.exists() else []:
        kind, child, name = line.split(" ", 2)
        if kind == "d":
            restore(copies, child, to / name)
        else:
            content = copies / f"file-{child}"
            (to / name).write_bytes(content.read_bytes() if content.exists() else b"")
            (to / name).chmod(0o600)


class Client(threading.Thread):
    """Writes and deletes; notes an outcome only when it was acknowledged."""

    def __init__(self, s3, label):
        super().__init__()
        self.s3, self.label, self.outcomes, self.unknown = s3, label, {}, None

    def run(self):
        chance = random.Random(self.label)
        try:
            for number in range(10_000):
                mode = chance.choice(["s3", "kms", "bucket-key", "dsse", "sse-c"])
                key = f"{self.label}/{mode}/{number}"
                body = sse.noise(chance.choice([10, 5_000, 40_000, 200_000]), number)
                self.unknown = key
                parts = [5 << 20, 100] if number % 25 == 24 else None
                body = bytes(5 << 20) + bytes(100) if parts else body
                sse.upload(self.s3, "power", key, body, mode, parts)
                self.outcomes[key] = body
                if number % 4 == 3:
                    self.s3.delete_object(Bucket="power", Key=key)
                    self.outcomes[key] = None
                self.unknown = None
        except (ClientError, BotoCoreError, OSError):
            return


@pytest.mark.parametrize("seconds", [0.7, 1.6, 3.0])
def test_every_acknowledgement_came_after_the_syncs(tmp_path, library, seconds):
    copies = tmp_path / "copies"
    copies.mkdir()
    first = tmp_path / "first"
    first.mkdir()
    preload = {"LD_PRELOAD": str(library), "SHADOW_ROOT": str(first / "data"), "SHADOW_COPY": str(copies)}
    server = Server(first, environment=preload).start()
    s3 = server.client()
    s3.create_bucket(Bucket="power")
    key = server.tresor("keys", "create", "--alias", "alias/before-the-cut")
    clients = [Client(s3, f"client-{n}") for n in range(6)]
    for client in clients:
        client.start()
    time.sleep(seconds)
    deadline = time.monotonic() + 60
    while sum(len(client.outcomes) for client in clients) <= 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    server.kill()
    for client in clients:
        client.join()
    assert sum(len(client.outcomes) for client in clients) > 20

    second = tmp_path / "second"
    second.mkdir()
    restore(copies, first.joinpath("data").stat().st_ino, second / "data")
    # RocksDB's own log of events is never synced: if the wrapper had kept it, it would show nothing.
    events = "data/meta/index/LOG"
    assert (first / events).stat().st_size > 0 == (second / events).stat().st_size
    shutil.copytree(first / "config", second / "config")
    survivor = Server(second).start()
    try:
        s3 = survivor.client()
        assert survivor.tresor("keys", "describe", "alias/before-the-cut")["KeyId"] == key["KeyId"]
        for client in clients:
            for name, expected in client.outcomes.items():
                if name == client.unknown:
                    continue
                try:
                    got = s3.get_object(Bucket="power", Key=name, **sse.read(name.split("/")[1]))["Body"].read()
                except s3.exceptions.NoSuchKey:
                    got = None
                assert got == expected, f"{name} did not survive as it was acknowledged"
    finally:
        survivor.stop()
