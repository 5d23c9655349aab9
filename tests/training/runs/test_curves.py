import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import assert_one_line, python

from training.errors import RunFolderError
from training.runs.config import config_to_json
from training.runs.curves import draw, load, smoothed
from training.runs.presets import get_config
from training.runs.progress import ProgressRow


def run_folder(path: Path, name: str = "duck", updates: int = 30) -> Path:
    """A run whose return is its update's number, evaluated at every tenth for a tenth of it."""
    path.mkdir()
    (path / "config.json").write_text(config_to_json(get_config(name)))
    with (path / "progress.jsonl").open("w") as file:
        for k in range(1, updates + 1):
            rows = [ProgressRow("update", k, 1000 * k, 2.0 * k, 0.0, {"episode/return": float(k)})]
            if k % 10 == 0:
                values = {"evaluation/score": 0.1 * k}
                rows.append(ProgressRow("evaluation", k, 1000 * k, 2.0 * k, 0.0, values))
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
    return path


def test_the_rows_of_a_run_become_its_curves(tmp_path: Path) -> None:
    curves = load(run_folder(tmp_path / "run"))
    assert (curves.name, curves.metric) == ("duck", "distance_m")
    np.testing.assert_array_equal(curves.returns[0], 1000.0 * np.arange(1, 31))
    np.testing.assert_array_equal(curves.returns[1], np.arange(1.0, 31.0))
    np.testing.assert_array_equal(curves.scores[0], [10e3, 20e3, 30e3])
    np.testing.assert_allclose(curves.scores[1], [1.0, 2.0, 3.0])


def test_the_score_before_training_is_a_line(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    assert load(run).before is None
    progress = run / "progress.jsonl"
    first = ProgressRow("evaluation", 0, 0, 0.0, 0.0, {"evaluation/score": 0.75})
    progress.write_text(json.dumps(asdict(first)) + "\n" + progress.read_text())
    curves = load(run)
    assert curves.before == 0.75
    draw([curves], tmp_path / "before.png")
    assert (tmp_path / "before.png").stat().st_size > 0


def test_smoothing_by_hand() -> None:
    # Few rows: the mean of a row and its neighbours, fewer at the ends.
    np.testing.assert_allclose(smoothed(np.array((0.0, 3.0, 6.0, 0.0))), [1.5, 3.0, 3.0, 3.0])
    np.testing.assert_allclose(smoothed(np.array((5.0,))), [5.0])
    line = np.arange(60.0)  # a running mean leaves a line as it is, but at its ends
    np.testing.assert_allclose(smoothed(line)[3:-3], line[3:-3])
    assert smoothed(line)[0] == pytest.approx(np.mean(line[:4]))


def test_every_run_is_in_the_picture(tmp_path: Path) -> None:
    names = ("minitaur", "duck")
    runs = [load(run_folder(tmp_path / name, name)) for name in names]
    draw(runs, tmp_path / "new" / "both.png")
    draw(runs[:1], tmp_path / "one.png")
    both, one = (
        np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).tolist()
        for path in (tmp_path / "new" / "both.png", tmp_path / "one.png")
    )
    blue, vermilion = [0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00]
    assert blue in both
    assert vermilion in both
    assert blue in one
    assert vermilion not in one


def test_a_run_before_its_first_evaluation_is_drawn(tmp_path: Path) -> None:
    curves = load(run_folder(tmp_path / "young", updates=4))
    assert curves.scores.shape == (2, 0)
    draw([curves], tmp_path / "young.png")
    assert (tmp_path / "young.png").stat().st_size > 0


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"is no run folder: it has no config\.json"):
        load(tmp_path)
    with pytest.raises(RunFolderError, match="no update is finished"):
        load(run_folder(tmp_path / "run", updates=0))


def test_the_command_line(tmp_path: Path) -> None:
    command = ("-m", "training.runs.curves")
    run, out = run_folder(tmp_path / "run"), tmp_path / "x.png"
    good = python(*command, run, "--out", out, timeout=60)
    assert (good.returncode, good.stdout) == (0, f"wrote {out}\n")
    assert out.stat().st_size > 0
    for arguments, message in (
        ([tmp_path / "nowhere"], "nowhere is no run folder"),
        ([], "name one run folder or more"),
    ):
        bad = python(*command, *arguments, timeout=60)
        assert bad.returncode == 2
        assert_one_line(bad.stderr, message)
