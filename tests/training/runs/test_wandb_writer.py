"""Curves in Weights & Biases, without its service: offline, as it keeps them for `wandb sync`."""

import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training.errors import ConfigError
from training.runs.config import TrainConfig, config_from_json, config_identity, config_to_json
from training.runs.folder import RunFolder
from training.runs.progress import read_rows
from training.train import Arguments, configured, train


def test_a_missing_wandb_is_told_in_one_line_before_anything_is_trained(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "training.runs.wandb_writer", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    cure = r"the logger wandb needs wandb: pip install '.\[wandb\]'$"
    with pytest.raises(ConfigError, match=cure):
        list(train(replace(tiny_config, logger="wandb"), tmp_path / "run"))
    assert not list(tmp_path.iterdir())


def test_the_logger_does_not_decide_the_result() -> None:
    config = configured(Arguments(config="pendulum", logger="wandb"))
    assert config.logger == "wandb"
    assert config_identity(config) == config_identity(replace(config, logger="tensorboard"))
    older = json.loads(config_to_json(config))
    del older["logger"]  # a run of before
    assert config_from_json(json.dumps(older)).logger == "tensorboard"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="W&B is not installed: pip install '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")


def records(path: Path) -> Iterator[Any]:
    """Read the records of a file that W&B keeps offline: the log format of LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no room for a header at the end of a block
            at += 32768 - at % 32768
        _, length, kind = struct.unpack_from("<IHB", data, at)
        at += 7 + length
        whole = (b"" if kind in (1, 2) else whole) + data[at - length : at]
        if kind in (1, 4):  # whole, or its last part
            yield Record.FromString(whole)


def history(run: Path) -> list[dict[str, float]]:
    """Read all rows that W&B has of a run, in the order of its sessions."""
    rows = []
    for path in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        for record in records(path):
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append(
                    {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}
                )
    return rows


@pytest.mark.usefixtures("offline")
def test_a_resumed_run_goes_on_in_the_same_run_of_wandb(
    tiny_config: TrainConfig, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    config = replace(tiny_config, logger="wandb")
    for score in train(config, run):
        if score.update == 3:
            break
    name = RunFolder(run).wandb_id.read_text().strip()
    list(train(config, run))
    assert RunFolder(run).wandb_id.read_text().strip() == name
    files = list(run.glob("wandb/offline-run-*/*.wandb"))
    assert [path.name for path in files] == [f"run-{name}.wandb"] * 2

    seen: dict[tuple[float, bool], dict[str, float]] = {}
    for row in history(run):
        key = row["steps"], "evaluation/score" in row
        again = seen.setdefault(key, row)
        for figure in ("episode/return", "evaluation/return", "ppo/kl"):
            assert again.get(figure) == row.get(figure)
    on_disk = read_rows(RunFolder(run).progress)
    assert len(seen) == len(on_disk)
    for row in on_disk:
        sent = seen[row.steps, row.kind == "evaluation"]
        assert sent["update"] == row.update
        assert {k: v for k, v in sent.items() if "/" in k and not k.startswith("time/")} == {
            k: v for k, v in row.values.items() if not k.startswith("time/")
        }
