"""`tresor bench` makes the load it says, counts it, and notices answers that are wrong. Nothing here is timed: rounds last fractions of a
second, and no rate is compared."""

import http.server
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import threading
import urllib.parse

import pytest

from harness import ACCOUNTS, KEY_ID, binary

ROOT = pathlib.Path(__file__).parent.parent
_, KEY, SECRET = ACCOUNTS["main"]
OPERATIONS = ["put", "get", "head", "delete", "list", "range", "multipart", "mixed"]
ENCRYPTIONS = {
    "none": ("AES256", None),
    "s3": ("AES256", None),
    "kms": ("aws:kms", None),
    "kms-bucket-key": ("aws:kms", True),
    "dsse": ("aws:kms:dsse", None),
    "c": (None, None),
}
PAYLOADS = ["unsigned", "signed", "chunked", "trailer", "signed-trailer"]
FIGURES = {
    "seconds", "requests", "errors", "wrong", "verified", "bytes", "keys", "requests_per_second", "bytes_per_second", "latency_ms",
    "client_cpu_us_per_request", "server", "other_cores", "stolen_cores", "samples",
}  # fmt: skip


def bench(*arguments, status=0, secret=SECRET):
    environment = {"PATH": os.environ["PATH"], "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": secret}
    command = [binary(), "bench", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr + done.stdout
    assert secret not in done.stderr + done.stdout
    return done


def measured(*arguments, status=0):
    """The JSON document of a short run."""
    short = ["--duration", "0.1", "--warm-up", "0", "--json", "-"]
    return json.loads(bench(*short, *arguments, status=status).stdout)


def rounds(report):
    """(case, endpoint's name, round) of a document."""
    for result in report["results"]:
        for endpoint in result["endpoints"]:
            assert endpoint["skipped"] is None, (result["name"], endpoint)
            for one in endpoint["rounds"]:
                yield result["case"], endpoint["endpoint"], one


@pytest.fixture
def sink(tmp_path):
    """Starts sinks; their URLs."""
    running = []

    def start(*arguments):
        command = [binary(), "bench", "sink", "--listen", "127.0.0.1:0", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        return process.stdout.readline().strip(), process

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_every_operation_is_measured_and_leaves_nothing(server, s3, bucket):
    report = measured(
        "--endpoint", server.endpoints["http"], "--bucket", bucket, "--op", ",".join(OPERATIONS), "--size", "70000", "--objects", 30,
        "--concurrency", 2, "--page", 7, "--range", 1000, "--verify", "all", "--rounds", 2,
    )  # fmt: skip
    assert report["form"] == 1 and report["machine"]["cores"] >= 1 and report["endpoints"][0]["server_pids"] == [server.process.pid]
    seen = list(rounds(report))
    assert {case["operation"] for case, _, _ in seen} == set(OPERATIONS) and len(seen) == 2 * len(OPERATIONS)
    for case, _, one in seen:
        assert set(one) == FIGURES
        assert one["requests"] > 0 and one["errors"] == one["wrong"] == 0 and one["samples"] == []
        latency = one["latency_ms"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p999"] <= latency["max"] * 1.01
        assert one["server"]["cpu_us_per_request"] >= 0 and one["server"]["peak_resident_bytes"] > 1 << 20
        match case["operation"]:
            case "put" | "multipart":
                assert one["bytes"] == 70000 * one["requests"]
            case "get":
                assert one["bytes"] == 70000 * one["requests"] and one["verified"] == one["requests"]
            case "range":
                assert one["bytes"] == 1000 * one["requests"] and one["verified"] == one["requests"]
            case "delete":
                assert one["requests"] <= 30
            case "list":
                assert one["keys"] > 0
    for result in report["results"]:
        median = result["endpoints"][0]["median"]
        assert median["ratio"] == 1 and median["requests_per_second"] > 0 and median["server_cpu_us_per_request"] is not None
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_parts_become_the_object_that_is_read(server, bucket):
    report = measured(
        "--endpoint", server.endpoints["http"], "--bucket", bucket, "--op", "multipart", "--size", "11MiB", "--part", "5MiB",
        "--concurrency", 3, "--requests", 1,
    )  # fmt: skip
    [(_, _, one)] = rounds(report)
    assert one["requests"] == 3 and one["bytes"] == 11 << 20


@pytest.mark.parametrize("payload", PAYLOADS)
def test_each_form_of_payload_is_taken_and_read_back(server, bucket, payload):
    report = measured(
        "--endpoint", server.endpoints["http"], "--bucket", bucket, "--op", "put,mixed", "--size", "200000", "--payload", payload,
        "--objects", 5, "--verify", "all",
    )  # fmt: skip
    for case, _, one in rounds(report):
        assert case["payload"] == payload and one["requests"] > 0 and one["errors"] == one["wrong"] == 0


@pytest.mark.parametrize("encryption", ENCRYPTIONS)
def test_objects_have_the_encryption_that_was_asked_for(server, s3, bucket, encryption):
    report = measured(
        "--endpoint", server.endpoints["https"], "--ca", server.endpoints["ca"], "--bucket", bucket, "--op", "get", "--objects", 3,
        "--sse", encryption, "--kms-key", KEY_ID, "--verify", "all", "--keep", "--prefix", "kept/",
    )  # fmt: skip
    [(_, _, one)] = rounds(report)
    assert one["verified"] == one["requests"] > 0
    [first, *_] = s3.list_objects_v2(Bucket=bucket)["Contents"]
    algorithm, bucket_key = ENCRYPTIONS[encryption]
    if encryption == "c":
        with pytest.raises(s3.exceptions.ClientError):
            s3.get_object(Bucket=bucket, Key=first["Key"])
        return
    head = s3.head_object(Bucket=bucket, Key=first["Key"])
    assert head["ServerSideEncryption"] == algorithm and head.get("BucketKeyEnabled") == bucket_key
    assert (KEY_ID in head.get("SSEKMSKeyId", "")) == (algorithm != "AES256")


def test_endpoints_take_turns_and_the_first_is_the_base(server, bucket, sink, tmp_path):
    url, process = sink("--store", "memory")
    targets = tmp_path / "targets.toml"
    targets.write_text(f"""
[[endpoint]]
name = "sink"
url = "{url}"
access_key_id = "any"
secret_access_key = "thing"
encryptions = ["none"]
[[endpoint]]
name = "tresor"
url = "{server.endpoints['http']}"
access_key_id = "{KEY}"
secret_access_key = "{SECRET}"
""")
    targets.chmod(0o600)
    report = measured("--targets", targets, "--bucket", bucket, "--op", "put", "--rounds", 3, "--concurrency", 2)
    assert [endpoint["name"] for endpoint in report["endpoints"]] == ["sink", "tresor"]
    assert report["endpoints"][0]["server_pids"] == [process.pid]
    [result] = report["results"]
    assert [len(endpoint["rounds"]) for endpoint in result["endpoints"]] == [3, 3]
    assert result["endpoints"][0]["median"]["ratio"] == 1 and result["endpoints"][1]["median"]["ratio"] > 0
    # What an endpoint does not offer is not asked of it, and another order makes another base.
    command = ["--targets", targets, "--bucket", bucket, "--op", "put", "--sse", "s3", "--endpoint", "tresor,sink"]
    first, second = measured(*command)["results"][0]["endpoints"]
    assert first["endpoint"] == "tresor" and first["median"]["ratio"] == 1
    assert second["skipped"] == "not offered" and second["rounds"] == []
    targets.write_text(targets.read_text() + f'encryption = "kms-bucket-key"\nkms_key = "{KEY_ID}"\nbucket = "{bucket}"\n')
    measured("--targets", targets, "--endpoint", "tresor", "--op", "put", "--keep", "--prefix", "own/")
    [first, *_] = server.client().list_objects_v2(Bucket=bucket, Prefix="own/")["Contents"]
    assert server.client().head_object(Bucket=bucket, Key=first["Key"])["BucketKeyEnabled"]
    targets.chmod(0o644)
    assert "0600" in bench("--targets", targets, status=1).stderr
    targets.write_text(f"[[endpoint]]\nname = 1\nsecret_access_key = '{SECRET}'\n")
    bench("--targets", targets, status=1)


class Liar(http.server.BaseHTTPRequestHandler):
    """Keeps what it is given, and lies as its server says."""

    protocol_version = "HTTP/1.1"
    objects = {}

    def answer(self, status, body=b"", length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self):
        self.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def do_HEAD(self):
        if self.path not in self.objects:
            return self.answer(404)
        self.answer(200, length=len(self.objects[self.path]) - (self.server.lie == "length"))

    def do_DELETE(self):
        self.objects.pop(self.path, None)
        self.answer(204)

    def do_GET(self):
        if "?" in self.path:
            prefix = urllib.parse.parse_qs(self.path.split("?")[1])["prefix"][0]
            keys = sorted(key for key in (path.split("/", 2)[-1] for path in self.objects) if key.startswith(prefix))
            if self.server.lie == "list":
                keys = keys[1:]
            return self.answer(200, ("<R>" + "".join(f"<Key>{key}</Key>" for key in keys) + "</R>").encode())
        body = bytearray(self.objects[self.path])
        first = not hasattr(self.server, "honest_once")
        self.server.honest_once = True
        if not first:
            if self.server.lie == "byte":
                body[len(body) // 2] ^= 1
            if self.server.lie == "short":
                del body[-1:]
            if self.server.lie == "other":
                body[:] = next(bytes(other) for path, other in self.objects.items() if path != self.path and path.count("/") > 1)
        self.answer(200, bytes(body))

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    "lie, operation", [("byte", "get"), ("short", "get"), ("other", "get"), ("list", "list"), ("length", "head"), ("nothing", "get,list,head")]
)
def test_wrong_answers_are_found(lie, operation):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    server.daemon_threads = True
    server.lie = lie
    Liar.objects = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        command = [
            "--endpoint", f"http://127.0.0.1:{server.server_port}", "--op", operation, "--size", "300000", "--objects", 4, "--verify", "all",
            "--concurrency", 2, "--keep", "--duration", 0.1, "--warm-up", 0, "--json", "-",
        ]  # fmt: skip
        done = bench(*command, status=0 if lie == "nothing" else 1)
        wrong = sum(one["wrong"] for _, _, one in rounds(json.loads(done.stdout)))
        assert (wrong == 0) == (lie == "nothing") and ("WRONG" in done.stderr) == (lie != "nothing"), done
    finally:
        server.shutdown()
        server.server_close()


def test_refusals_are_errors_and_not_results(server, bucket):
    arguments = ["--endpoint", server.endpoints["http"], "--bucket", bucket, "--duration", "0.1", "--op", "put"]
    done = bench(*arguments, status=1, secret="not-the-secret-of-this-account-at-all-00")
    assert "SignatureDoesNotMatch" in done.stderr
    for wrong in (["--concurrency", 0], ["--duration=-1"], ["--prefix", "a b"], ["--endpoint", "ftp://a"], ["--endpoint", "unknown"]):
        bench(*wrong, "--endpoint", server.endpoints["http"], status=1)


def test_the_report_is_one_file_with_charts(server, bucket, tmp_path):
    kept, page, picture = tmp_path / "run.json", tmp_path / "run.html", tmp_path / "run.png"
    arguments = ["--endpoint", f"here={server.endpoints['http']}", "--bucket", bucket, "--op", "put,get", "--duration", 0.1, "--rounds", 2]
    table = bench(*arguments, "--json", kept, "--html", page, "--png", picture).stdout
    for name in ("put 4 KiB c8", "get 4 KiB c8"):
        assert name in table and name in page.read_text()

    def check(text):
        assert text.startswith("<!DOCTYPE html>") and text.count("<svg") == text.count("</svg>") == 2 and text.count("<table>") == 2
        # Nothing is fetched: no script, no reference but to the name of SVG's namespace.
        assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|\bsrc=|\bhref=", text)
        assert set(re.findall(r"https?://[^\s\"<]+", text)) <= {"http://www.w3.org/2000/svg", server.endpoints["http"]}

    check(page.read_text())
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 400 and height > 200
    again = tmp_path / "again.html"
    shown = bench_report(kept, "--html", again)
    check(again.read_text())
    assert "put 4 KiB c8" in shown
    kept.write_text(kept.read_text().replace('"form":1', '"form":99'))
    assert "form 99" in subprocess.run([binary(), "bench", "report", kept], capture_output=True, text=True, timeout=60).stderr


def test_the_end_to_end_table_is_written(tmp_path):
    """One short row; what it says of the goal is the machine's business."""
    kept, page = tmp_path / "run.json", tmp_path / "page.md"
    command = [sys.executable, ROOT / "benches/end_to_end.py", "--quick", "--rows", "^HEAD", "--rounds", "1", "--seconds", "0.05"]
    environment = os.environ | {"TRESOR_BIN": binary()}
    done = subprocess.run([*command, "--out", kept, "--page", page], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    run = json.loads(kept.read_text())
    [row] = run["rows"]
    assert row["ratio"] > 0 and row["tresor"]["errors"] == row["tresor"]["wrong"] == 0 and row["variants"]["kms-bucket-key"]["ratio"] > 0
    assert run["peak_mib"] > 1 and run["settings"]["fsync"].startswith("on") and run["machine"]["cores"] >= 1
    text = page.read_text()
    assert "| HEAD 4 KiB c8 |" in text and run["commit"] in text and "data_events" in text


def bench_report(*arguments):
    done = subprocess.run([binary(), "bench", "report", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("store", ["memory", "file", "log"])
@pytest.mark.parametrize("options", [[], ["--gcm"], ["--gcm", "--md5", "--fsync"]])
def test_the_sink_gives_back_what_it_took(sink, tmp_path, store, options):
    url, _ = sink("--store", store, "--dir", str(tmp_path / "sink"), "--log-size", "16MiB", *options)
    report = measured(
        "--endpoint", url, "--op", "get,range,delete,list,multipart", "--size", "4096,1500000", "--objects", 3, "--range", 70000, "--part",
        "1MiB", "--payload", "trailer", "--verify", "all", "--keep", "--concurrency", 2, "--requests", 40,
    )  # fmt: skip
    for _, _, one in rounds(report):
        assert one["requests"] > 0 and one["errors"] == one["wrong"] == 0, one


def test_the_sink_listens_on_loopback_only(tmp_path):
    done = subprocess.run([binary(), "bench", "sink", "--listen", "0.0.0.0:0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "loopback" in done.stderr
