"""The stored format by docs/format.md and nothing else: the vectors of the Rust crate, opened with another library."""

import hashlib
import hmac
import json
import pathlib

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VECTORS = json.loads((pathlib.Path(__file__).parent.parent / "crates/envelope/testdata/vectors.json").read_text())
CHUNK = 65_536
TWO_LAYERS = 4


def hkdf(ikm, salt, info):
    return HKDF(SHA256(), 32, salt, info).derive(ikm)


def len4(data):
    return len(data).to_bytes(4, "big") + data


def header_hash(mode, arn):
    algorithm = 2 if mode == TWO_LAYERS else 1
    return hashlib.sha256(b"tresor/v1/header" + bytes([1, algorithm, 16, mode]) + len4(arn.encode())).digest()


def open_body(vector):
    """The plaintext; an exception for anything that does not authenticate."""
    inner = bytes.fromhex(vector["data_key"])
    outer = bytes.fromhex(vector["outer_key"]) if vector["outer_key"] else b""
    header = header_hash(vector["mode"], vector["key_arn"])
    if hkdf(inner + outer, b"", b"tresor/v1/commit" + header).hex() != vector["commitment"]:
        raise InvalidTag
    salt, stream = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["stream"])
    number = vector["number"].to_bytes(2, "big")
    layers = [AESGCM(hkdf(inner, salt, b"tresor/v1/part" + header + number))]
    if outer:
        layers.append(AESGCM(hkdf(outer, salt, b"tresor/v1/layer2" + header + number)))
    sealed, plain = bytes.fromhex(vector["sealed"]), b""
    count = max(1, -(-vector["length"] // CHUNK))
    step = CHUNK + 16 * len(layers)
    for index in range(count):
        last = bytes([index == count - 1])
        nonce = index.to_bytes(11, "big") + last
        aad = stream + number + index.to_bytes(8, "big") + last
        chunk = sealed[index * step : (index + 1) * step]
        for layer in reversed(layers):
            if len(chunk) < 16:
                raise InvalidTag
            chunk = layer.decrypt(nonce, chunk, aad)
        plain += chunk
    return plain


@pytest.mark.parametrize("vector", VECTORS["bodies"], ids=lambda vector: vector["name"])
def test_bodies(vector):
    if vector["opens"]:
        assert open_body(vector) == bytes(n * 7 % 256 for n in range(vector["length"]))
    else:
        with pytest.raises(InvalidTag):
            open_body(vector)


@pytest.mark.parametrize("vector", VECTORS["header"], ids=lambda vector: str(vector["mode"]))
def test_headers(vector):
    assert header_hash(vector["mode"], vector["key_arn"]).hex() == vector["hash"]


def test_binding():
    arn = VECTORS["header"][1]["key_arn"]
    text = b"tresor/v1/binding" + bytes([1] * 16) + len4("dir/ü".encode()) + bytes([2] * 16) + header_hash(2, arn)
    assert hashlib.sha256(text).hexdigest() == VECTORS["binding"]


def test_wrap():
    kek, aad, secret, wrapped = (bytes.fromhex(VECTORS["wrap"][name]) for name in ("kek", "aad", "secret", "wrapped"))
    assert AESGCM(hkdf(kek, wrapped[:32], b"tresor/v1/wrap")).decrypt(bytes(12), wrapped[32:], aad) == secret


def test_entity_tag():
    root, bucket, tweak, digest, sealed = (
        bytes.fromhex(VECTORS["etag"][name]) for name in ("index_root", "bucket", "tweak", "digest", "sealed")
    )
    block = lambda label, data: Cipher(algorithms.AES(hkdf(root, b"", label + bucket)), modes.ECB()).encryptor().update(data)
    mask = block(b"tresor/v1/etag-tweak", tweak)
    xor = lambda a, b: bytes(x ^ y for x, y in zip(a, b))
    assert xor(block(b"tresor/v1/etag", xor(digest, mask)), mask) == sealed


def test_record():
    root, partition, row, record, mac = (
        bytes.fromhex(VECTORS["record"][name]) for name in ("root", "partition", "row", "record", "mac")
    )
    text = b"tresor/v1/record" + len4(partition) + len4(row) + record
    assert hmac.digest(hkdf(root, b"", b"tresor/v1/record-key"), text, "sha256") == mac


def cbor(data, at=0):
    """One item of CBOR and where it ends: what minicbor writes, and no more."""
    major, size, at = data[at] >> 5, data[at] & 31, at + 1
    if size >= 24:
        count = 1 << (size - 24)
        size, at = int.from_bytes(data[at : at + count], "big"), at + count
    if major in (2, 3):
        return data[at : at + size], at + size
    if major in (4, 5):
        items = []
        for _ in range(size * (major - 3)):
            item, at = cbor(data, at)
            items.append(item)
        return (dict(zip(items[::2], items[1::2])) if major == 5 else items), at
    return (None if major == 7 else size), at


@pytest.mark.parametrize("vector", VECTORS["owned"], ids=lambda vector: vector["name"])
def test_owned_keys(vector):
    envelope, _ = cbor(bytes.fromhex(vector["envelope"]))
    binding, material = bytes.fromhex(vector["binding"]), envelope.get(7)
    assert (material.hex() if material else None) == vector["material"]
    if material:
        aad = (b"tresor/v1/owned-outer" if vector["outer"] else b"tresor/v1/owned") + material + binding
    else:
        aad = (b"tresor/v1/outer" if vector["outer"] else b"") + binding
    wrapped = envelope[2] if vector["outer"] else envelope[1]
    key = AESGCM(hkdf(bytes.fromhex(vector["kek"]), wrapped[:32], b"tresor/v1/wrap"))
    assert key.decrypt(bytes(12), wrapped[32:], aad).hex() == vector["data_key"]
    for foreign in (aad[:-1] + b"x", binding + aad):
        with pytest.raises(InvalidTag):
            key.decrypt(bytes(12), wrapped[32:], foreign)
