"""A file is hashed once, and again as soon as it changes."""

import hashlib
import time

from promptlab.backbone import difference
from promptlab.backbone.difference import sha256


def test_a_file_changed_in_place_is_hashed_anew(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    assert sha256(file) == hashlib.sha256(b"one").hexdigest()
    time.sleep(0.02)  # clocks of file systems tick
    file.write_bytes(b"two")  # as long as before: the time tells
    assert sha256(file) == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_stays_is_read_once(tmp_path, monkeypatch):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"once")
    wanted = sha256(file)
    monkeypatch.setattr(difference.hashlib, "file_digest", lambda *found: 1 / 0)
    assert sha256(file) == wanted
