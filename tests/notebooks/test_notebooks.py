"""The notebooks run from a fresh clone, and what is committed of their outputs can be read."""

import json
import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
# Some 20 s of computing each: minutes where many others compute.
pytestmark = pytest.mark.timeout(900)
NAMES = ["train", "look_at_a_log"]
# The smallest that goes through every cell.
SMALL: dict[str, dict[str, Any]] = {
    "train": {
        "TOTAL_STEPS": 1,
        "VARY": {"episodes_per_update": 2, "eval_episodes": 1, "seed": 3},
        "WORKERS": 1,
        "SECONDS": 1.2,
    },
    # Not in real time: a busy computer must not end the run.
    "look_at_a_log": {"SECONDS": 2.5, "REALTIME": False},
}


def executed(name: str, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook with small parameters, its files in a folder; raise the error of a cell."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    cells = notebook.cells
    (at,) = (i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", ()))
    # As papermill does: another cell after that of the parameters.
    small = {**SMALL[name], "FOLDER": str(folder)}
    lines = (f"{variable} = {value!r}" for variable, value in small.items())
    cells.insert(at + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(notebook, timeout=None, resources=where).execute()
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [each for cell in notebook.cells for each in cell.get("outputs", ())]


def printed(notebook: nbformat.NotebookNode) -> str:
    return "".join(each.text for each in outputs(notebook) if each.output_type == "stream")


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in each.get("data", ()) for each in outputs(notebook))


def test_a_policy_is_trained_exported_and_run(tmp_path: Path) -> None:
    notebook = executed("train", tmp_path)
    (run,) = tmp_path.glob("*-demo")
    assert json.loads((run / "config.json").read_text())["seed"] == 3
    assert (run / "finished.json").exists()
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["faults"] == []
    assert report["policy"] == str(tmp_path / "policy.onnx")
    assert re.search(r"torch and the file differ by \d\.\de-\d+ at most", printed(notebook))
    # The learning curve, which is drawn anew in its place, and the plots of the run.
    assert pictures(notebook) == 2
    (training,) = (cell for cell in notebook.cells if "for progress in train" in cell.source)
    assert len(training.outputs) == 2  # the curve, and the line after it: nothing else is shown
    films = [
        "video/mp4;base64" in each.get("data", {}).get("text/html", "")
        for each in outputs(notebook)
    ]
    assert sum(films) == 1


def test_a_log_is_read_plotted_and_replayed(tmp_path: Path) -> None:
    notebook = executed("look_at_a_log", tmp_path)
    text = printed(notebook)
    assert "the same in the flight log: True" in text
    assert "ticks of the policy; differs first: None" in text
    assert re.search(r"another policy, \d+ ticks: its targets differ from those of the run", text)
    assert pictures(notebook) == 4
    assert (tmp_path / "run.html").stat().st_size > 100_000


@pytest.mark.parametrize("name", NAMES)
def test_what_ships_is_small_and_names_no_computer(name: str) -> None:
    path = NOTEBOOKS / f"{name}.ipynb"
    assert path.stat().st_size < 600_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    assert counts in ([None] * len(code), list(range(1, 1 + len(code))))  # cleared, or run at once
    for output in outputs(notebook):
        assert output.output_type != "error"
        data = output.get("data", {})
        for text in (output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")):
            if "base64" not in text:
                assert not re.search(r"(?<![\w.<])/\w+/", text), text
