#!/usr/bin/env bash
# cargo-deny over licenses, sources, bans and wrappers; installed once into the user's cache. Advisories are left out: their
# database is a repository of its own, and a check must not depend on reaching it.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
home=$TRESOR_CACHE/tools
deny=$home/bin/cargo-deny
if ! "$deny" --version 2>/dev/null | grep -qF "$version"; then
    echo "installing cargo-deny $version into $home" >&2
    CARGO_TARGET_DIR=$home/target cargo install --locked --quiet --root "$home" "cargo-deny@$version"
    rm -rf "$home/target"
fi
"$deny" --locked check bans licenses sources
