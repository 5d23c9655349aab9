"""Atomic writing: the old or the whole new, and no litter."""

import os
from pathlib import Path

import pytest

from deploy.files import write_atomically


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
