"""The notebooks run from a fresh clone, and what is committed of their outputs is fit to be read."""

import json
import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
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
    """Run a notebook with small parameters, which files go to a folder; a cell's error is raised."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    cells = notebook.cells
    (at,) = (i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", ()))
    # As papermill does: another cell after that of the parameters.
    small = {**SMALL[name], "FOLDER": str(folder)}
    lines = (f"{variable} = {value!r}" for variable, value in small.items())
    cells.insert(at + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(notebook, timeout=200, resources=where).execute()
    return notebook


def texts(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_a_policy_is_trained_exported_and_run(tmp_path: Path) -> None:
    notebook = executed("train", tmp_path)
    (run,) = tmp_path.glob("*-demo")
    assert json.loads((run / "config.json").read_text())["seed"] == 3
    assert (run / "finished.json").exists()
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["faults"] == []
    assert report["policy"] == str(tmp_path / "policy.onnx")
    assert re.search(r"torch and the file differ by \d\.\de-\d+ at most", texts(notebook))
    assert pictures(notebook) == 2  # the learning curve, drawn anew in its place, and the run
    html = [
        output.data.get("text/html", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "data" in output
    ]
    assert sum("data:video/mp4;base64" in text for text in html) == 1


def test_a_log_is_read_plotted_and_replayed(tmp_path: Path) -> None:
    notebook = executed("look_at_a_log", tmp_path)
    text = texts(notebook)
    assert "the same in the flight log: True" in text
    assert "ticks of the policy; differs first: None" in text
    assert re.search(r"another policy, \d+ ticks: its targets differ from those of the run", text)
    assert pictures(notebook) == 4
    assert (tmp_path / "run.html").stat().st_size > 100_000


@pytest.mark.parametrize("name", NAMES)
def test_shipped_outputs_are_whole_small_and_name_no_computer(name: str) -> None:
    path = NOTEBOOKS / f"{name}.ipynb"
    assert path.stat().st_size < 600_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, 1 + len(code)))
    for output in (output for cell in code for output in cell.outputs):
        assert output.output_type != "error"
        for content in (output.get("text", ""), output.get("data", {}).get("text/plain", "")):
            assert not re.search(r"(?<![\w.])/\w+/", content), content
