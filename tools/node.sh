#!/usr/bin/env bash
# Installs the JavaScript clients of tests/node/package-lock.json, and says so.
set -euo pipefail

place=$1
source=$(cd "$(dirname "$0")/../tests/node" && pwd)
mkdir -p "$place"
exec 9>"$place.lock"
flock 9
if ! cmp -s "$source/package-lock.json" "$place/installed.json"; then
    echo "installing the JavaScript clients of tests/node into $place" >&2
    cp "$source/package.json" "$source/package-lock.json" "$place/"
    (cd "$place" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2)
    cp "$source/package-lock.json" "$place/installed.json"
fi
