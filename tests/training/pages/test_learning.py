import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from training.errors import ReportError
from training.pages.learning import training_page
from training.runs.config import config_to_json
from training.runs.presets import get_config
from training.runs.progress import ProgressRow

SECTIONS = ["Learning", "Reward", "Episodes", "PPO", "Time", "Setup"]


def run_folder(path: Path, updates: int = 20) -> Path:
    """A run of 3 s an update, of which 1 s collects and 1 s updates."""
    path.mkdir()
    (path / "config.json").write_text(config_to_json(get_config("duck")))
    with (path / "progress.jsonl").open("w") as file:
        for k in range(updates + 1):
            rows = []
            if k % 10 == 0:
                values = {"evaluation/score": 0.1 * k, "evaluation/drift_m": 0.0}
                rows.append(ProgressRow("evaluation", k, 1000 * k, 3.0 * k, 0.0, values))
            if k:
                values = {
                    "episode/return": float(k),
                    "episode/drift_m": 0.1,
                    "episode/reward_energy": -0.5,
                    "ppo/kl": 0.01,
                    "time/collect_s": 1.0,
                    "time/update_s": 1.0,
                }
                rows.append(ProgressRow("update", k, 1000 * k, 3.0 * k, 0.0, values))
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
    return path


def sentence(text: str) -> str:
    return re.search("<strong>(.*?)</strong>", text)[1]


def test_a_run_under_way(tmp_path: Path) -> None:
    text = training_page(run_folder(tmp_path / "run"))
    assert re.findall(r"<h2>(.*?)</h2>", text) == SECTIONS
    total = f"{get_config('duck').total_steps:,}"
    assert sentence(text) == (
        f"duck: not finished, 20,000 of {total} steps in 60 s; best evaluated distance_m 2, "
        "before training 0."
    )
    assert "&quot;total_steps&quot;" in text


def test_a_run_that_is_finished_and_one_that_broke_off(tmp_path: Path) -> None:
    done = run_folder(tmp_path / "done")
    (done / "finished.json").write_text('{"best_score": 2.0}')
    assert sentence(training_page(done)).startswith("duck: trained 20,000 steps in 60 s; ")
    broken = run_folder(tmp_path / "broken")
    (broken / "failure.json").write_text('{"what": "<b>reward is not finite"}')
    text = training_page(broken)
    assert sentence(text).startswith("duck: broke off after 20,000 of ")
    assert "<p>&lt;b&gt;reward is not finite</p>" in text


def test_a_film_is_in_the_page(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    (folder / "walk.gif").write_bytes(b"GIF89a")
    assert 'src="data:image/gif;base64,R0lGODlh"' in training_page(folder)


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="nothing to show yet: no update is finished"):
        training_page(run_folder(tmp_path / "run", updates=0))
