#!/usr/bin/env bash
# Builds RocksDB's C++ once per machine and keeps the static library in the user's cache.
#
# RocksDB is about 26 CPU minutes of C++. Cargo would compile it again for every profile and every target
# directory; ROCKSDB_LIB_DIR makes each of them link this one copy. Prints the directory of the library.
set -euo pipefail

version=0.19.0+11.8.1
cache=${TRESOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tresor}
home=$cache/rocksdb/$version
if [ -f "$home/lib/librocksdb.a" ]; then
    echo "$home/lib"
    exit 0
fi

mkdir -p "$home/build/src"
exec 9>"$home/lock"
flock 9
if [ ! -f "$home/lib/librocksdb.a" ]; then
    echo "building RocksDB once for this machine (about 26 CPU minutes), kept in $home" >&2
    cat >"$home/build/Cargo.toml" <<TOML
[package]
name = "rocksdb-once"
version = "0.0.0"
edition = "2021"

[workspace]

[dependencies]
librocksdb-sys = { version = "=$version", default-features = false, features = ["bindgen-runtime", "lz4", "zstd"] }
TOML
    echo 'fn main() {}' >"$home/build/src/main.rs"
    env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CARGO_TARGET_DIR="$home/build/target" \
        cargo build --release --quiet --manifest-path "$home/build/Cargo.toml" >&2
    mkdir -p "$home/lib"
    find "$home/build/target" -name librocksdb.a -exec cp {} "$home/lib/librocksdb.a.new" \;
    mv "$home/lib/librocksdb.a.new" "$home/lib/librocksdb.a"
    rm -rf "$home/build"
fi
echo "$home/lib"
