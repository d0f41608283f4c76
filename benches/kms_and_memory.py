"""The cost of KMS calls beside a bare authenticated request, and the memory of 32 uploads and downloads at once.

Python clients: what counts is the server's own processor time, not the rate. Stops by itself after about half a minute."""

import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness import ACCOUNTS, KEY_ID, REGION, Server

class Unsigned(S3SigV4Auth):
    def payload(self, request):
        return "UNSIGNED-PAYLOAD"


def call(base, connection, method, path, headers, body=None):
    request = AWSRequest(method, base + path, headers=dict(headers) | {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    Unsigned(Credentials(*ACCOUNTS["main"][1:]), "s3", REGION).add_auth(request)
    connection.request(method, path, body=body, headers=dict(request.headers.items()))
    answer = connection.getresponse()
    while answer.read(1 << 20):
        pass
    assert answer.status == 200, (method, path, answer.status)


def cpu(pid):
    """Seconds that the server has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(server, clients=32, size=64 << 20):
    """The most resident memory, in MiB, while `clients` upload and then download `size` bytes each."""
    base = server.endpoints["http"]
    host = urllib.parse.urlsplit(base)
    body = os.urandom(size)
    status = pathlib.Path(f"/proc/{server.process.pid}/status")
    highest, stop = {"": 0}, threading.Event()

    def watch(method):
        while not stop.wait(0.02):
            resident = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))
            highest[method] = max(highest.get(method, 0), resident // 1024)

    def client(method, number):
        connection = http.client.HTTPConnection(host.hostname, host.port)
        call(base, connection, method, f"/bench/memory/{number}", {}, body if method == "PUT" else None)

    for method in ("PUT", "GET"):
        stop.clear()
        watcher = threading.Thread(target=watch, args=(method,))
        watcher.start()
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            list(pool.map(lambda number: client(method, number), range(clients)))
        stop.set()
        watcher.join()
        print(f"{clients} x {method} of {size >> 20} MiB at once: {highest[method]} MiB resident at most (bound: 200)", flush=True)
    assert max(highest.values()) < 200


def kms(server, count=4000, clients=32):
    """GenerateDataKey and Decrypt over 32 connections against a bare authenticated request (HEAD of a bucket): all signed before."""
    base = server.endpoints["http"]
    host = urllib.parse.urlsplit(base)
    credentials = Credentials(*ACCOUNTS["main"][1:])
    blob = server.kms().encrypt(KeyId=KEY_ID, Plaintext=b"x" * 32)["CiphertextBlob"]
    calls = {
        "HEAD bucket": ("HEAD", "/bench", None, None),
        "GenerateDataKey": ("POST", "/", "GenerateDataKey", {"KeyId": KEY_ID, "KeySpec": "AES_256"}),
        "Decrypt": ("POST", "/", "Decrypt", {"CiphertextBlob": base64.b64encode(blob).decode()}),
    }
    print("| request | rate | CPU | CPU against HEAD |\n|---|---|---|---|")
    bare = None
    for name, (method, path, operation, members) in calls.items():
        if operation is None:
            request = AWSRequest(method, base + path, headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
            Unsigned(credentials, "s3", REGION).add_auth(request)
            body = None
        else:
            body = json.dumps(members).encode()
            headers = {"X-Amz-Target": f"TrentService.{operation}", "Content-Type": "application/x-amz-json-1.1"}
            request = AWSRequest(method, base + path, headers=headers, data=body)
            SigV4Auth(credentials, "kms", REGION).add_auth(request)
        headers = dict(request.headers.items())

        def client(number):
            connection = http.client.HTTPConnection(host.hostname, host.port)
            for _ in range(number, count, clients):
                connection.request(method, path, body=body, headers=headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, (name, answer.status)

        used, start = cpu(server.process.pid), time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            list(pool.map(client, range(clients)))
        rate, seconds = count / (time.monotonic() - start), (cpu(server.process.pid) - used) / count
        bare = bare or seconds
        print(f"| {name} | {rate:.0f}/s | {seconds * 1e6:.0f} µs | {seconds / bare:.2f} |", flush=True)


def main():
    with tempfile.TemporaryDirectory(prefix="tresor-bench-") as home:
        server = Server(home, log="warn").start()
        try:
            server.client().create_bucket(Bucket="bench")
            kms(server)
            memory(server)
        finally:
            server.stop()


main()
