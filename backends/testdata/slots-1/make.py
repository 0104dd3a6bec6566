#!/usr/bin/env python3
"""Makes slots.hex from the description in docs/formats.md, with none of Coffer's code. Needs the package `cryptography`.

A change of what this prints is a change of the format."""
import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def hkdf(key, salt, info):
    extracted = hmac.new(salt, key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def counted(data):
    assert len(data) < 128
    return bytes([len(data)]) + data


store_id = bytes(range(0xA0, 0xB0))
root = bytes(range(0x40, 0x60))


def slot(number, kind, created, label, parameters, kek, fill):
    salt, nonce = bytes([fill]) * 32, bytes([fill + 1]) * 12
    described = struct.pack("<IBQ", number, kind, created) + counted(label.encode()) + counted(parameters) + salt + nonce
    described += hkdf(kek, salt, b"coffer slots 1 check" + store_id)
    wrapping = hkdf(kek, salt, b"coffer slots 1 wrap" + store_id)
    return described + AESGCM(wrapping).encrypt(nonce, root, b"coffer slots 1" + store_id + described)


def passphrase(text, salt, memory_kib, passes, lanes):
    kdf = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory_kib)
    return salt + struct.pack("<III", memory_kib, passes, lanes), kdf.derive(text)


parameters, stretched = passphrase(b"correct horse battery staple", b"sixteen bytes of", 19456, 2, 1)
slots = [
    slot(2, 2, 1_700_000_000, "the operator's schlüssel", b"", bytes(range(32)), 0x11),
    slot(3, 1, 1_700_000_001, "", parameters, stretched, 0x21),
]
body = b"COFFERKS" + struct.pack("<I", 1)
body += crc32c(body) + store_id + struct.pack("<QII", 5, 4, len(slots)) + b"".join(slots)
body += hmac.new(hkdf(root, store_id, b"coffer slots 1 table"), body, hashlib.sha256).digest()
body += crc32c(body)
for at in range(0, len(body), 32):
    print(body[at : at + 32].hex())
