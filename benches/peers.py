"""What Tresor is compared with: the sink, which is ours, and the peers that happen to be installed. None is required."""

import base64
import json
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import time

from harness import binary

KEY, SECRET = "perfperfperf", "perfperfperfperfperf"
# Rows that need the S3 API, for a peer that only serves files.
BEYOND_FILES = "LIST|multipart|SSE-|DELETE|range"


def free_port():
    """A port that is free and low enough: SeaweedFS listens 10,000 above each of its ports too."""
    for port in random.sample(range(18_000, 30_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise OSError("no port is free")


def sinks(home, log_size):
    """The limit lines and their processes: small bodies in one log; a file each with MD5."""
    found, running = {}, []
    for name, options in {
        "log": ["--store", "log", "--fsync", "--gcm", "--log-size", log_size],
        "md5": ["--store", "file", "--fsync", "--md5", "--gcm"],
    }.items():
        command = [binary(), "bench", "sink", "--listen", "127.0.0.1:0", "--dir", str(home / f"sink-{name}"), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        url = process.stdout.readline().strip()
        assert url, f"the sink did not start: {command}"
        found[name] = {"url": url, "access_key_id": KEY, "secret_access_key": SECRET, "server_pids": [process.pid]}
    return found, running


def tool(name):
    """A program of the Python environment, or of the PATH."""
    beside = pathlib.Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def start(running, command, port, patience=40, **more):
    """The process once something listens at its port; None when that does not come to be."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **more)
    running.append(process)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            time.sleep(0.1)
    print(f"not compared with {command[0]}: it does not answer", file=sys.stderr)
    return None


def endpoint(port, process, note, region="us-east-1", skip="SSE-"):
    return {
        "url": f"http://127.0.0.1:{port}",
        "access_key_id": KEY,
        "secret_access_key": SECRET,
        "region": region,
        "server_pids": [process.pid],
        "encryptions": ["none"],
        "note": note,
        "skip": skip,
    }


def peers(home, running):
    """Endpoints by name, of what is installed."""
    found = {}
    for name, begin in {"rclone": rclone, "s3s-fs": s3s, "seaweedfs": seaweedfs, "nginx": nginx, "garage": garage}.items():
        directory = home / name
        directory.mkdir()
        try:
            peer = begin(directory, running)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"not compared with {name}: {error}", file=sys.stderr)
            continue
        if peer:
            found[name] = peer
    return found


def rclone(directory, running):
    if not (program := tool("rclone")):
        return None
    port = free_port()
    command = [program, "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}", str(directory)]
    process = start(running, command, port)
    return process and endpoint(port, process, "rclone serve s3: no fsync, files")


def s3s(directory, running):
    if not (program := tool("s3s-fs")):
        return None
    port = free_port()
    command = [program, "--host", "127.0.0.1", "--port", str(port), "--access-key", KEY, "--secret-key", SECRET, str(directory)]
    process = start(running, command, port)
    return process and endpoint(port, process, "s3s-fs: no fsync, files")


def seaweedfs(directory, running):
    if not (program := tool("weed")):
        return None
    identity = {"name": "perf", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin", "Read", "Write", "List"]}
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    port, ports = free_port(), {name: free_port() for name in ("master", "volume", "filer")}
    command = [program, "-logtostderr=true", "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += [f"-{name}.port={at}" for name, at in ports.items()] + [f"-s3.port={port}", f"-s3.config={directory}/s3.json"]
    command += ["-volume.max=50", "-master.volumeSizeLimitMB=1024", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    process = start(running, command, port)
    if process:
        # It listens before it can store.
        time.sleep(5)
    return process and endpoint(port, process, "SeaweedFS: no fsync")


def nginx(directory, running):
    if not (program := shutil.which("nginx")):
        return None
    port = free_port()
    (directory / "bench").mkdir()
    (directory / "nginx.conf").write_text(
        f"""daemon off; worker_processes 2; pid {directory}/pid; error_log {directory}/log;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {directory}/temp; client_max_body_size 0; sendfile on; tcp_nodelay on; keepalive_requests 1000000;
server {{ listen 127.0.0.1:{port}; root {directory};
  location = /bench {{ return 200; }}
  location / {{ dav_methods PUT DELETE; create_full_put_path on; }} }} }}
"""
    )
    process = start(running, [program, "-c", str(directory / "nginx.conf")], port)
    return process and endpoint(port, process, "nginx with DAV: files, no authentication, no fsync", skip=BEYOND_FILES)


def garage(directory, running):
    if not (program := tool("garage")):
        return None
    ports = {name: free_port() for name in ("s3", "rpc", "admin")}
    token = base64.urlsafe_b64encode(b"bench-bench-bench-bench-").decode()
    (directory / "garage.toml").write_text(
        f"""metadata_dir = "{directory}/meta"
data_dir = "{directory}/data"
db_engine = "lmdb"
metadata_fsync = true
data_fsync = true
compression_level = "none"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{ports['rpc']}"
rpc_public_addr = "127.0.0.1:{ports['rpc']}"
rpc_secret = "{'0' * 63}1"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:{ports['s3']}"
root_domain = ".s3.garage"
[admin]
api_bind_addr = "127.0.0.1:{ports['admin']}"
admin_token = "{token}"
"""
    )
    command = [program, "-c", str(directory / "garage.toml")]
    process = start(running, [*command, "server"], ports["s3"])
    if not process:
        return None

    def run(*arguments):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise OSError(f"garage {' '.join(arguments)}: {done.stderr.strip()[-200:]}")
        return done.stdout

    node = run("node", "id", "-q").split("@")[0].strip()
    run("layout", "assign", "-z", "here", "-c", "10G", node)
    run("layout", "apply", "--version", "1")
    key, secret = "GK" + "0" * 23 + "1", "0" * 63 + "1"
    run("key", "import", "--yes", "-n", "bench", key, secret)
    run("bucket", "create", "bench")
    run("bucket", "allow", "--read", "--write", "--owner", "bench", "--key", key)
    return endpoint(ports["s3"], process, "Garage: metadata_fsync and data_fsync", region="garage") | {
        "access_key_id": key,
        "secret_access_key": secret,
    }
