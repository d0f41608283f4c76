"""The rows of the end-to-end table and their goals: the ratio of our rate to the sink's in the same run."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# Beside SSE-S3 in the same run: a bucket key may cost 5 % of the rate, a data key for each object 30 % where objects are small.
BUCKET_KEY = {"kms-bucket-key": 0.05}
SMALL = BUCKET_KEY | {"kms": 0.30, "dsse": None}
# Keys up to which peers are listed too.
MOST_FOR_PEERS = 100_000
LARGE = BUCKET_KEY | {"kms": None, "c": None}


def rows(options):
    """In this order, because the sink's log begins again when it is full: what is read stands before what writes much."""
    big = "256MiB" if options.quick else "1GiB"
    large_name = "256 MiB" if options.quick else "1 GiB"
    objects = 200 if options.quick else 1000
    warm = ["--warm-up", 0.1 if options.quick else 0.5]

    def row(name, arguments, sink="log", variants=BUCKET_KEY, **more):
        return {"name": name, "arguments": [*arguments, *warm], "sink": sink, "variants": variants, **more}

    # These are measured without AVX-512 too: ciphers and MD5 are a part of them.
    wide = {"wide": True}

    def listing(keys, **more):
        arguments = ["--op", "list", "--concurrency", 1, "--objects", keys, "--prefix", f"listed-{keys}/"]
        return row(f"LIST 1,000 keys a page of {keys:,} c1", arguments, goal=0.33, variants={}, **more)

    # No peer takes so many objects in the time of a run.
    listings = [listing(options.list_keys, peers=options.list_keys <= MOST_FOR_PEERS)]
    if options.list_keys > MOST_FOR_PEERS:
        listings.insert(0, listing(10_000))
    small = ["--size", "4KiB", "--concurrency", 8]
    return [
        row("GET 4 KiB c8", ["--op", "get", *small, "--objects", objects], goal=0.43, variants=SMALL, **wide),
        row("HEAD 4 KiB c8", ["--op", "head", *small, "--objects", objects], goal=0.6),
        row("PUT 4 KiB c8", ["--op", "put", *small], goal=0.45, variants=SMALL, **wide),
        row("PUT 4 KiB c1", ["--op", "put", "--size", "4KiB", "--concurrency", 1], floor=3000, variants=SMALL),
        row("DELETE c8", ["--op", "delete", *small, "--objects", 1000 if options.quick else 10_000], goal=0.53),
        *listings,
        row("GET 16 MiB c1", ["--op", "get", "--size", "16MiB", "--concurrency", 1, "--objects", 8], goal=0.88, variants=LARGE, **wide),
        row(f"range 64 KiB of {large_name} c8", ["--op", "range", "--size", big, "--objects", 1, "--concurrency", 8], goal=0.66, **wide),
        row("PUT 1 MiB c8", ["--op", "put", "--size", "1MiB", "--concurrency", 8], goal=0.6, **wide),
        row("PUT 16 MiB c1 SSE-KMS", ["--op", "put", "--size", "16MiB", "--concurrency", 1, "--sse", "kms"], goal=0.6, variants={}, **wide),
        row("PUT 16 MiB c1 SSE-C", ["--op", "put", "--size", "16MiB", "--concurrency", 1, "--sse", "c"], goal=0.6, variants={}),
        row("PUT 16 MiB c1 SSE-S3, against a sink with MD5", ["--op", "put", "--size", "16MiB", "--concurrency", 1], "md5", LARGE, goal=0.9, **wide),
        row(
            f"multipart {large_name} c4",
            ["--op", "multipart", "--size", big, "--concurrency", 4, "--requests", 1],
            goal=0.62,
        ),
    ]
