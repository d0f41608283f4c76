"""The end-to-end table: Tresor beside the sink (the limit line of the machine) and whatever peers are installed, in one run, in turns.

    end_to_end.py [--quick] [--rows REGEX] [--out FILE.json] [--list-keys N] [--rounds N] [--seconds S]

Starts what it measures on free ports of loopback, makes the load with `tresor bench`, keeps everything as benches/results/COMMIT.json
and writes docs/performance.md. A rate means something only on a quiet machine: the page says whether it was one."""

import argparse
import datetime
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

import page
from peers import peers, sinks
from rows import rows
from harness import ACCOUNTS, KEY_ID, Server, binary

ROOT = pathlib.Path(__file__).parent.parent
# Processors that others used while a row ran; above it rates mean little.
QUIET = 0.3
# The whole server's memory in a run, in MiB.
MEMORY_BOUND = 200
# What a server that does without AVX-512 is told: our own kernels by its configuration, and aws-lc, whose second word of processor
# features is leaf 7 of CPUID (F, DQ, IFMA, CD, BW and VL are taken out).
NARROW = {"TRESOR_SERVER_AVX512": "false", "OPENSSL_ia32cap": ":~0xd0230000"}


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def tresor(home, **more):
    """A development server (SSE-KMS and SSE-C over HTTP), and how `tresor bench` reaches it."""
    server = Server(home, log="warn", **more).start()
    _, key, secret = ACCOUNTS["main"]
    return server, {
        "url": server.endpoints["http"],
        "access_key_id": key,
        "secret_access_key": secret,
        "kms_key": KEY_ID,
        "server_pids": [server.process.pid],
    }


def measure(home, endpoints, arguments, options):
    """`tresor bench` over named endpoints, in turns; its document."""
    targets, out = home / "targets.json", home / "run.json"
    targets.touch(mode=0o600)
    targets.write_text(json.dumps({"endpoint": [{"name": name, **endpoint} for name, endpoint in endpoints.items()]}))
    command = [binary(), "bench", "--quiet", "--targets", str(targets), "--json", str(out), "--bucket", "bench", "--keep", "--hold-others"]
    command += ["--rounds", str(options.rounds), "--duration", str(options.seconds), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    if not out.exists():
        raise SystemExit(f"tresor bench: {done.stderr}")
    report = json.loads(out.read_text())
    out.unlink()
    if "WRONG" in done.stderr:
        print(f"  {done.stderr.strip()}", file=sys.stderr)
    return report


def figures(result):
    """What the table shows of each endpoint of a case."""
    found = {}
    bulk = page.is_bulk(result["case"])
    for endpoint in result["endpoints"]:
        median = endpoint["median"]
        if median is None:
            found[endpoint["endpoint"]] = {"skipped": endpoint["skipped"]}
            continue
        found[endpoint["endpoint"]] = {
            "rate": median["bytes_per_second"] / 1e6 if bulk else median["requests_per_second"],
            "unit": "MB/s" if bulk else "/s",
            "p50_ms": median["p50_ms"],
            "p99_ms": median["p99_ms"],
            "cpu": median["server_cpu_seconds_per_gigabyte"] if bulk else median["server_cpu_us_per_request"],
            "cpu_unit": "s/GB" if bulk else "us",
            "peak_mib": (median["peak_resident_bytes"] or 0) / 2**20,
            "others": median["other_cores"],
            "errors": median["errors"],
            "wrong": median["wrong"],
            "rates": [round(one["bytes_per_second"] / 1e6 if bulk else one["requests_per_second"], 1) for one in endpoint["rounds"]],
        }
    return found


def ratio(ours, base):
    """The median of the ratios round by round."""
    pairs = zip(ours.get("rates", []), base.get("rates", []))
    ratios = [a / b for a, b in pairs if b]
    return statistics.median(ratios) if ratios else None


def main():
    # Servers that were started end with the run, also when it is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about 90 seconds: fewer and shorter rounds, a smaller bucket to list, no peers")
    parser.add_argument("--rows", default="", help="only rows whose name matches")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--list-keys", type=int)
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--page", type=pathlib.Path, default=ROOT / "docs/performance.md")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.4 if options.quick else 2)
    options.list_keys = options.list_keys or (20_000 if options.quick else 1_000_000)
    with_peers = not options.quick if options.peers is None else options.peers
    started = datetime.datetime.now(datetime.timezone.utc)
    run = {
        "commit": git("rev-parse", "--short=12", "HEAD") + ("-dirty" if git("status", "--porcelain") else ""),
        "date": started.strftime("%Y-%m-%d %H:%M UTC"),
        "quick": options.quick,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "build": "debug" if "/debug/" in binary() else "release",
        "rows": [],
    }
    with tempfile.TemporaryDirectory(prefix="tresor-bench-", dir=os.environ.get("BENCH_DIR")) as place:
        home = pathlib.Path(place)
        (home / "tresor").mkdir()
        server, ours = tresor(home / "tresor")
        servers, running = [server], []
        try:
            limits, running = sinks(home, "1GiB" if options.quick else "4GiB")
            others = peers(home, running) if with_peers else {}
            narrow = None
            if "avx512f" in pathlib.Path("/proc/cpuinfo").read_text():
                (home / "narrow").mkdir()
                narrow_server, narrow = tresor(home / "narrow", environment=NARROW)
                servers.append(narrow_server)
            run["peers"] = {name: peer["note"] for name, peer in others.items()}
            run["settings"] = settings()
            for row in rows(options):
                if not re.search(options.rows, row["name"]):
                    continue
                found = measured_row(home, row, (ours, narrow), limits, others, options)
                run["machine"] = found.pop("machine")
                run["rows"].append(found)
                print(page.line(found), flush=True)
        finally:
            for process in running:
                process.kill()
                process.wait()
            for server in servers:
                server.stop()
    run["seconds_taken"] = round((datetime.datetime.now(datetime.timezone.utc) - started).total_seconds())
    run["peak_mib"] = max((row["tresor"].get("peak_mib", 0) for row in run["rows"]), default=0)
    run["memory_bound_mib"] = MEMORY_BOUND
    others_used = [row["tresor"]["others"] for row in run["rows"] if "others" in row["tresor"]]
    run["others"] = statistics.median(others_used) if others_used else None
    run["quiet"] = bool(others_used) and run["others"] <= QUIET
    out = options.out or ROOT / "benches/results" / f"{run['commit']}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(run, indent=1) + "\n")
    options.page.write_text(page.markdown(run))
    print(f"{run['seconds_taken']} s; {out}; {options.page}")


def measured_row(home, row, servers, limits, others, options):
    """One line of the table: the sink, Tresor with every encryption of the row and without AVX-512, the peers; all in turns."""
    ours, narrow = servers
    endpoints = {}
    if row["sink"]:
        endpoints["sink"] = limits[row["sink"]]
    endpoints["tresor"] = ours
    for encryption in row["variants"]:
        endpoints[encryption] = {**ours, "encryption": encryption}
    if narrow and row.get("wide"):
        endpoints["avx512-off"] = narrow
    for name, peer in others.items():
        if row.get("peers", True) and not re.search(peer.get("skip", "^$"), row["name"]):
            endpoints[name] = {key: value for key, value in peer.items() if key not in ("note", "skip")}
    report = measure(home, endpoints, row["arguments"], options)
    found = figures(report["results"][0])
    tresor, sink, off = found.pop("tresor"), found.pop("sink", {}), found.pop("avx512-off", None)
    variants = {encryption: found.pop(encryption) for encryption in row["variants"]}
    for encryption, variant in variants.items():
        variant["ratio"] = ratio(variant, tresor)
        variant["cpu_ratio"] = variant["cpu"] / tresor["cpu"] if variant.get("cpu") and tresor.get("cpu") else None
        variant["within"] = row["variants"][encryption]
    return {
        "name": row["name"],
        "goal": row.get("goal"),
        "floor": row.get("floor"),
        "sink_store": row["sink"],
        "tresor": tresor,
        "sink": sink,
        "ratio": ratio(tresor, sink),
        "variants": variants,
        "avx512_off": off and {**off, "ratio": ratio(off, tresor), "sink_ratio": ratio(off, sink)},
        "peers": found,
        "machine": report["machine"],
    }


def settings():
    """What was switched on, as the page tells it."""
    return {
        "encryption": "SSE-S3 (the default) where no other is named",
        "authentication": "on: SigV4 on every request, an identity of the main account",
        "fsync": "on: every write durable before its answer",
        "audit data_events": "writes (the default)",
        "transport": "HTTP on loopback, development mode for SSE-C and SSE-KMS over HTTP",
    }


if __name__ == "__main__":
    main()
