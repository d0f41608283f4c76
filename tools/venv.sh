#!/usr/bin/env bash
# Makes or refreshes the Python environment with the clients of tests/requirements.txt, and says so.
set -euo pipefail

venv=$1
wanted=$(dirname "$0")/../tests/requirements.txt
stamp=$venv/requirements.installed
mkdir -p "$(dirname "$venv")"
exec 9>"$venv.lock"
flock 9
if ! cmp -s "$wanted" "$stamp" || ! "$venv/bin/python" -c '' 2>/dev/null; then
    echo "installing the Python clients of tests/requirements.txt into $venv" >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$wanted" >&2
    cp "$wanted" "$stamp"
fi
