"""Atomic writing: the old or the whole new, and no litter."""

import os
from pathlib import Path

import pytest

from deploy.files import write_atomically, write_json


def test_atomic_writing_replaces_or_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"

    def fail(_: int) -> None:
        raise OSError("disk fails")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk fails"):
        write_atomically(path, b"newer")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_readable_and_nothing_is_written_of_what_json_has_not(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.json"
    write_json(path, {"a": [1, 0.5]})
    assert path.read_text() == '{\n  "a": [\n    1,\n    0.5\n  ]\n}\n'
    with pytest.raises(TypeError):
        write_json(path, {"a": path})
    assert list(path.parent.iterdir()) == [path]
    assert '"a"' in path.read_text()
