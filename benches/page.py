"""docs/performance.md, from the document of a run."""


def is_bulk(case):
    """As `tresor bench` decides it: from 1 MiB a request on bytes are counted, and of multipart uploads always."""
    mib = 1 << 20
    match case["operation"]:
        case "multipart":
            return True
        case "range":
            return case["range"] >= mib
        case "put" | "get" | "mixed":
            return case["size"] >= mib
    return False


def short(value):
    """Three digits that count."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(found):
    """Rate; p50/p99; processor time."""
    if "rate" not in found:
        return found.get("skipped") or "-"
    faults = f" ({found['errors']} errors, {found['wrong']} wrong)" if found["errors"] or found["wrong"] else ""
    rate = f"{short(found['rate'])} {found['unit']}" if found["unit"] == "MB/s" else f"{short(found['rate'])}/s"
    return f"{rate}; {found['p50_ms']:.2f}/{found['p99_ms']:.2f} ms; {short(found['cpu'])} {found['cpu_unit']}{faults}"


def verdict(row):
    """Whether the goal is met, in a word."""
    if row["goal"] is not None and row["ratio"] is not None:
        return "met" if row["ratio"] >= row["goal"] else "missed"
    if row["floor"] is not None and "rate" in row["tresor"]:
        return "met" if row["tresor"]["rate"] >= row["floor"] else "missed"
    return "-"


def goal(row):
    return f"{row['goal']:.2f}" if row["goal"] is not None else f">= {row['floor']:,}/s" if row["floor"] is not None else "-"


def best(row):
    """The peer with the highest rate, of those that answered rightly."""
    rated = {name: peer for name, peer in row["peers"].items() if "rate" in peer and not peer["errors"] + peer["wrong"]}
    if not rated:
        return "-"
    name = max(rated, key=lambda name: rated[name]["rate"])
    return f"{name}: {cell(rated[name])}"


def variants(row):
    """Encryptions beside SSE-S3 of the same run."""
    texts = []
    for name, variant in row["variants"].items():
        if variant["ratio"] is None:
            texts.append(f"{name}: {variant.get('skipped') or '-'}")
            continue
        bound = variant["within"]
        judged = "" if bound is None else ", met" if variant["ratio"] >= 1 - bound else f", missed ({1 - bound:.2f})"
        texts.append(f"{name} x{variant['ratio']:.2f} (CPU x{variant['cpu_ratio'] or 0:.2f}{judged})")
    return "; ".join(texts) or "-"


def line(row):
    """A row for the terminal, while the run goes on."""
    ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else "-"
    return f"{row['name']}: {cell(row['tresor'])} | sink {cell(row['sink'])} | ratio {ratio}, goal {goal(row)}: {verdict(row)} | {variants(row)}"


def markdown(run):
    machine = run["machine"]
    others = f"{run['others']:.1f}" if run["others"] is not None else "unknown"
    state = "quiet" if run["quiet"] else "NOT QUIET: read no rate or ratio of this page, and processor times with care"
    memory = "met" if 0 < run["peak_mib"] <= run["memory_bound_mib"] else "missed"
    lines = [
        "# Performance",
        "",
        "Written by `make bench` (`benches/end_to_end.py`); do not edit. Each row is one run in which the sink, Tresor and its encryptions, and the",
        "peers took turns; figures are medians over the rounds, ratios the median of each round's ratio. The sink (`tresor bench sink`) is what",
        "HTTP and the disk allow on the machine: hyper, AES-256-GCM and fsync, one log with group commit for bodies up to 1 MiB and a file each",
        "above it; with MD5 where the row says so. It has no authentication, no metadata, no keys. Its files go through the page cache: a ratio",
        "above 1 says that the page cache costs more than writing past it, as Tresor does. What it deletes is not durable, and its listing is",
        "held in memory. Client and server share the processors; every other server is stopped during a turn.",
        "",
        f"- commit {run['commit']}, {run['date']}, {run['build']} build, {'quick' if run['quick'] else 'full'} run of {run['seconds_taken']} s, "
        f"{run['rounds']} rounds of {run['seconds']} s",
        f"- machine: {machine['cores']} cores, {machine['cpu_model']}, AVX-512 {'on' if machine['avx512'] else 'off'}, "
        f"{machine['memory_bytes'] >> 30} GiB, Linux {machine['kernel']}",
        f"- {state} ({others} processors used by others, in the middle of the rows)",
        *(f"- {name}: {value}" for name, value in run["settings"].items()),
        f"- resident memory at most {run['peak_mib']:.0f} MiB over the whole run, bound {run['memory_bound_mib']} MiB: {memory}",
        "",
        "Cells: rate; p50/p99; processor time of the server a request, or a gigabyte where rates are of bytes.",
        "",
        "| row | Tresor | sink | ratio | goal | | best peer |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in run["rows"]:
        ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else "-"
        lines.append(f"| {row['name']} | {cell(row['tresor'])} | {cell(row['sink'])} | {ratio} | {goal(row)} | {verdict(row)} | {best(row)} |")
    lines += [
        "",
        "## Encryptions beside SSE-S3",
        "",
        "Rate and processor time against SSE-S3 in the same rounds. A bucket key may cost 5 % of the rate, a data key for each object 30 % at 4 KiB.",
        "",
        "| row | |",
        "|---|---|",
    ]
    lines += [f"| {row['name']} | {variants(row)} |" for row in run["rows"] if row["variants"]]
    narrow = [row for row in run["rows"] if row["avx512_off"]]
    if narrow:
        lines += [
            "",
            "## AVX-512 off",
            "",
            "A second server in the same rounds, whose MD5 (`server.avx512 = false`) and ciphers do without it.",
            "",
            "| row | | beside AVX-512 | ratio to the sink |",
            "|---|---|---|---|",
        ]
        lines += [f"| {row['name']} | {cell(row['avx512_off'])} | x{row['avx512_off']['ratio']:.2f} | {row['avx512_off']['sink_ratio']:.2f} |" for row in narrow]
    if run["peers"]:
        lines += ["", "Peers: " + "; ".join(f"{name} ({note})" for name, note in run["peers"].items()) + "."]
    else:
        lines += ["", "No peer was measured."]
    return "\n".join(lines) + "\n"
