#!/usr/bin/env python3
"""Opens the sealed store of this directory from the text of docs/formats.md alone (sections 2, 3, 7, 10 and 11).

Needs Python's `cryptography`. Root key: 32 bytes 7. Store id: 16 bytes 3. Prints what it opened; fails on anything else.
"""

import pathlib
import sqlite3
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HERE = pathlib.Path(__file__).parent
ROOT_KEY, STORE_ID = bytes([7] * 32), bytes([3] * 16)


def undump(name):
    length, *lines = (HERE / name).read_text().splitlines()
    content = bytearray(int(length.split()[0]))
    for line in lines:
        offset, digits = line.split()
        piece = bytes.fromhex(digits)
        content[int(offset, 16) : int(offset, 16) + len(piece)] = piece
    return bytes(content)


class SealedFile:
    """A header of section 3, and the key of the file that it describes."""

    def __init__(self, header, magic, kind, key_of):
        assert len(header) == 512 and header[:8] == magic and header[8:12] == struct.pack("<I", 1)
        self.store_id, self.file_id = header[16:32], struct.unpack("<Q", header[32:40])[0]
        self.kind, self.algorithm = header[40], header[41]
        self.data_key_id = struct.unpack("<I", header[44:48])[0]
        assert (self.store_id, self.kind, self.algorithm) == (STORE_ID, kind, 1)
        info = b"coffer/v1" + bytes([kind]) + self.store_id + header[32:40]
        key = HKDF(SHA256(), 32, salt=header[48:80], info=info).derive(key_of(self.data_key_id))
        self.cipher = AESGCM(key)
        self.fields = header[80:480]
        self.open(1, 0, 0, header[480:492], header[:480], b"", header[492:508])

    def open(self, piece_kind, offset, sequence, nonce, context, text, tag):
        bound = self.store_id + struct.pack("<QI", self.file_id, self.data_key_id)
        bound += bytes([self.kind, self.algorithm, piece_kind, 0]) + struct.pack("<QQ", offset, sequence)
        bound += nonce + struct.pack("<I", len(context)) + context
        return self.cipher.decrypt(nonce, text + tag, bound)

    def piece(self, piece, piece_kind, offset, sequence):
        """A piece of section 7, without its padding."""
        assert struct.unpack("<I", piece[4:8])[0] == len(piece) - 40 and piece[8] == piece_kind
        padded = self.open(
            piece_kind, offset, sequence, piece[12:24], piece[4:12], piece[40:], piece[24:40]
        )
        text = padded.rstrip(b"\0")
        assert len(padded) % 64 == 0 and text[-1] == 0x80
        return text[:-1]


def number(text, at):
    value = shift = 0
    while True:
        byte = text[at]
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return value, at


def data_keys():
    slot = undump("keyring.a.hex")
    file = SealedFile(slot[:512], b"COFFERKR", 6, lambda _: ROOT_KEY)
    bytes_of_body = struct.unpack("<Q", file.fields[:8])[0]
    text = file.piece(slot[512 : 512 + bytes_of_body], 1, 512, file.file_id)
    _, at = number(text, 0)
    count, at = number(text, at + 1)
    keys = {}
    for _ in range(count):
        key_id, at = number(text, at)
        _, at = number(text, at + 1)
        _, at = number(text, at)
        keys[key_id] = text[at : at + 32]
        at += 32
    assert at == len(text)
    return keys


def open_database(name, magic, kind, keys):
    database = sqlite3.connect(":memory:")
    database.executescript((HERE / f"{name}.sql").read_text())
    files = {}
    for row, header in database.execute("SELECT id, header FROM sealed_files"):
        files[row] = SealedFile(header, magic, kind, keys.__getitem__)
        assert files[row].file_id == row
    return database, files


def main():
    keys = data_keys()
    print("data keys", sorted(keys))
    log, files = open_database("log.db", b"COFFERSL", 4, keys)
    for sequence, sealed, piece in log.execute("SELECT sequence, sealed, piece FROM groups"):
        print("group", sequence, files[sealed].piece(piece, 2, sequence, sequence))
    for row, generation, sealed, piece in log.execute("SELECT * FROM base"):
        print("base", files[sealed].piece(piece, 3, row, generation).hex())
    state, files = open_database("state.db", b"COFFERSS", 5, keys)
    units = {}
    for unit, sealed, footer in state.execute("SELECT id, sealed, footer FROM units"):
        units[unit] = files[sealed]
        print("footer", unit, files[sealed].piece(footer, 4, unit, 0).hex())
    for table, kind in (("boxes", 2), ("blocks", 3)):
        for row, piece in state.execute(f"SELECT id, piece FROM {table}"):
            text = units[row >> 24].piece(piece, kind, row, row & 0xFFFFFF)
            print(table, row >> 24, row & 0xFFFFFF, text[:120])
    for row, generation, sealed, piece in state.execute("SELECT * FROM manifest"):
        print("manifest", row, files[sealed].piece(piece, 4 + row, row, generation).hex())


main()
