"""Atomic writing: the old or the whole new, and no litter."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from support.training import files_limited_to

from deploy.files import prove_writable, write_atomically, write_json


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


def test_a_writer_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write_atomically(path, lambda file: file.write(b"old"))

    def fails(file: BinaryIO) -> None:
        file.write(b"ne")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_atomically(path, fails)
    assert [each.name for each in tmp_path.iterdir()] == ["log"]
    assert path.read_bytes() == b"old"


def test_json_is_readable_and_nothing_is_written_of_what_json_has_not(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.json"
    write_json(path, {"a": [1, 0.5]})
    assert path.read_text() == '{\n  "a": [\n    1,\n    0.5\n  ]\n}\n'
    with pytest.raises(TypeError):
        write_json(path, {"a": path})
    assert list(path.parent.iterdir()) == [path]
    assert '"a"' in path.read_text()


def test_a_proof_leaves_nothing_but_the_folder_and_touches_no_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    prove_writable(path)
    assert list(tmp_path.rglob("*")) == [path.parent]
    path.write_bytes(b"old")
    prove_writable(path)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_proof_names_the_path_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "report.json"
    with files_limited_to(1000), pytest.raises(OSError, match="File too large") as failed:
        prove_writable(path, 1001)
    assert failed.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []
    with files_limited_to(1000):
        prove_writable(path, 1000)


@pytest.mark.parametrize("write", [prove_writable, lambda path: write_atomically(path, b"x")])
def test_a_folder_or_a_device_is_no_file_to_write(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, why in (
        (tmp_path, "Is a directory"),
        (pipe, "Not a regular file"),
        (Path("/dev/null"), "Not a regular file"),
        (Path("/proc/report.json"), "No such file"),
        (pipe / "report.json", "Not a directory"),
    ):
        with pytest.raises(OSError, match=why) as failed:
            write(path)
        assert failed.value.errno is not None
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
