import io
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console
from support.training import files_limited_to
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.runs.config import TrainConfig
from training.runs.folder import RunFolder
from training.runs.progress import ConsoleProgress, ProgressLog, ProgressRow, RowKind, read_rows


def row(update: int, kind: RowKind = "update", value: float = 0.0) -> ProgressRow:
    name = "episode/return" if kind == "update" else "evaluation/score"
    return ProgressRow(kind, update, 10 * update, float(update), 1e9 + update, {name: value})


def curve(folder: RunFolder, name: str) -> dict[int, float]:
    accumulator = EventAccumulator(str(folder.path)).Reload()
    events = accumulator.Scalars(name)
    assert len({event.step for event in events}) == len(events), "two values at one step"
    return {event.step: event.value for event in events}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_rows_reach_json_lines_and_tensorboard(folder: RunFolder) -> None:
    log = ProgressLog(folder, 0, -1)
    log.write(row(1, value=1.5))
    log.write(row(1, "evaluation", value=0.25))
    assert len(folder.progress.read_text().splitlines()) == 2
    assert curve(folder, "episode/return") == {10: 1.5}
    assert curve(folder, "evaluation/score") == {10: 0.25}


def test_curves_go_back_with_the_run(folder: RunFolder) -> None:
    log = ProgressLog(folder, 0, -1)
    for update in range(1, 5):
        log.write(row(update, value=-1.0))
        log.write(row(update, "evaluation", value=-1.0))
    with folder.progress.open("a") as file:
        file.write('{"kind": "update", "upd')  # killed in the middle of a row
    # The checkpoint is of update 3, saved before that update was evaluated.
    log = ProgressLog(folder, 3, 2)
    log.write(row(3, "evaluation", value=3.0))
    log.write(row(4, value=4.0))
    assert curve(folder, "episode/return") == {10: -1.0, 20: -1.0, 30: -1.0, 40: 4.0}
    assert curve(folder, "evaluation/score") == {10: -1.0, 20: -1.0, 30: 3.0}
    assert len(folder.progress.read_text().splitlines()) == 7


def test_a_full_disk_costs_rows_and_never_half_a_row(
    folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    log = ProgressLog(folder, 0, -1)
    log.write(row(1))
    before = folder.progress.read_bytes()
    with files_limited_to(len(before) + 20):
        log.write(row(2))
        log.write(row(2))
    assert folder.progress.read_bytes() == before
    assert caplog.text.count("rows of the progress log are lost") == 1  # said once
    log.write(row(3, value=3.0))
    assert "the progress log goes on; 2 rows of it are lost" in caplog.text
    assert curve(folder, "episode/return")[30] == 3.0


def test_plain_lines_where_there_is_no_terminal(tiny_config: TrainConfig) -> None:
    out = io.StringIO()
    with ConsoleProgress(tiny_config, Console(file=out)) as progress:
        progress.show(row(1, value=7.0))
        progress.show(row(2, "evaluation", value=9.0))
    assert out.getvalue() == (
        "tiny: update 2, 20 of 900 steps, 10 steps/s, return 7  evaluated return 9\n"
    )


def test_the_configuration_is_a_text_of_tensorboard(folder: RunFolder) -> None:
    folder.config_path.write_text('{\n  "seed": 3\n}\n')
    ProgressLog(folder, 0, -1)
    accumulator = EventAccumulator(str(folder.path)).Reload()
    (event,) = accumulator.Tensors("config")
    assert event.tensor_proto.string_val == [b'    {\n      "seed": 3\n    }\n']
    assert accumulator.SummaryMetadata("config").plugin_data.plugin_name == "text"


def test_never_more_steps_than_the_total_shown(tiny_config: TrainConfig) -> None:
    # 450: a resumed run begins with what is done.
    for steps, shown in ((450, "450/900 steps"), (950, "950/950 steps")):
        out = io.StringIO()
        with ConsoleProgress(tiny_config, Console(file=out, force_terminal=True, width=200)) as bar:
            bar.show_steps(steps)
        assert shown in out.getvalue()
    plain = io.StringIO()
    with ConsoleProgress(tiny_config, Console(file=plain)) as progress:
        progress.show(row(95, "evaluation", value=9.0))
    assert "950 of 950 steps" in plain.getvalue()


def test_a_bar_on_a_terminal(tiny_config: TrainConfig) -> None:
    out = io.StringIO()
    with ConsoleProgress(tiny_config, Console(file=out, force_terminal=True, width=200)) as bar:
        bar.show(row(1, value=7.0))
        bar.show(row(2, "evaluation", value=9.0))
    text = out.getvalue()
    assert "20/900" in text
    assert "evaluated return 9" in text


def test_rows_that_a_disk_has_damaged_are_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "progress.jsonl"
    good = ProgressRow("update", 1, 10, 1.0, 2.0, {"episode/return": 3.0})
    line = json.dumps(asdict(good))
    damaged = [line.replace("3.0", '"a"'), line.replace("3.0", "1e999"), "[]", line[:20]]
    path.write_bytes("\n".join([line, *damaged]).encode() + b"\n\xff\x00\xfe\n")
    assert read_rows(path) == [good]
    assert "5 malformed rows are dropped" in caplog.text
