#!/usr/bin/env bash
# The main job, shown with the real aws CLI: every kind of server-side encryption, what lies on the disk, a wrong key refused.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

home=$(mktemp -d "${TMPDIR:-/tmp}/tresor-demo.XXXXXX")
finish() {
    if [ -n "${SERVER_PID:-}" ]; then
        kill "$SERVER_PID" 2>/dev/null && wait "$SERVER_PID" || echo "the server had ended" >&2
    fi
    rm -rf "$home"
}
trap finish EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
same() { cmp "$1" "$2" && echo "identical"; }

say "A development server on a fresh directory"
start_server "$home"
echo "HTTP $HTTP, HTTPS $HTTPS, CA $CA"

marker="the plaintext of this demonstration"
say "A file of 64 MiB, every line of it: $marker"
yes "$marker" | head -c $((64 * 1024 * 1024)) >"$home/plain" || [ -s "$home/plain" ]
ls -lh "$home/plain" | awk '{print $5}'

say "A bucket, and a KMS key of our own"
aws s3 mb s3://demo
"$TRESOR_BIN" keys create --alias alias/demo --data-dir "$home/data" | tee "$home/key.json"
key=$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["KeyId"])' "$home/key.json")
head -c 32 /dev/urandom >"$home/customer.key"
head -c 32 /dev/urandom >"$home/wrong.key"

say "SSE-S3, the default of every object"
aws s3 cp --no-progress "$home/plain" s3://demo/sse-s3
aws s3 cp --no-progress s3://demo/sse-s3 "$home/back" && same "$home/plain" "$home/back"

say "SSE-KMS under our own key"
aws s3 cp --no-progress "$home/plain" s3://demo/sse-kms --sse aws:kms --sse-kms-key-id "$key"
aws s3 cp --no-progress s3://demo/sse-kms "$home/back" && same "$home/plain" "$home/back"

say "SSE-C, over HTTPS, with a key that only we have"
aws s3 cp --no-progress "$home/plain" s3://demo/sse-c --sse-c AES256 --sse-c-key "fileb://$home/customer.key"
aws s3 cp --no-progress s3://demo/sse-c "$home/back" --sse-c AES256 --sse-c-key "fileb://$home/customer.key"
same "$home/plain" "$home/back"

say "DSSE-KMS: two layers, two keys, two implementations"
aws s3api put-object --bucket demo --key dsse --body "$home/plain" --server-side-encryption aws:kms:dsse --ssekms-key-id alias/demo
aws s3api get-object --bucket demo --key dsse "$home/back" >/dev/null && same "$home/plain" "$home/back"

say "What lies on the disk: $(du -sh "$home/data" | cut -f1)"
if grep -rqaF "$marker" "$home/data"; then
    echo "the plaintext is on the disk" >&2
    exit 1
fi
echo "no file below the data directory holds: $marker"

say "An envelope: all that is stored beside the ciphertext of sse-kms"
"$TRESOR_BIN" inspect demo sse-kms --data-dir "$home/data"

say "A wrong SSE-C key"
if aws s3 cp --no-progress s3://demo/sse-c "$home/back" --sse-c AES256 --sse-c-key "fileb://$home/wrong.key"; then
    echo "a wrong key was accepted" >&2
    exit 1
fi
echo "refused"

say "The KMS key disabled, then enabled again"
"$TRESOR_BIN" keys disable alias/demo --data-dir "$home/data" >/dev/null
if aws s3api get-object --bucket demo --key sse-kms "$home/back"; then
    echo "a disabled key was used" >&2
    exit 1
fi
"$TRESOR_BIN" keys enable alias/demo --data-dir "$home/data" >/dev/null
aws s3api get-object --bucket demo --key sse-kms "$home/back" >/dev/null && same "$home/plain" "$home/back"

say "Done. Try next:"
cat <<TEXT
  make run      leaves such a server running, with commands to paste
  make test     runs every test
  README.md     configuration, keys, TLS
TEXT
