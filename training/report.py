"""One HTML page of a run, an evaluation or a training: `minitaur report --help`, or `make report`.

What a path holds decides which page it is. Imports neither torch nor physics: a robot computer
makes the pages of its runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from deploy.files import prove_writable, write_atomically, write_somewhere
from deploy.record.page.html import MOST_BYTES
from deploy.record.page.recording import LOG_SUFFIXES, read_object, read_recording
from deploy.record.page.run_page import run_page
from robot_firmware_bridge.command_line import EXIT_FAULT, EXIT_OK, command
from training.errors import ReportError
from training.pages.evaluation import evaluation_page

_GIVE = (
    "give a run's folder (such as runs-robot/last), its report (.json) or its log (.npz, .mcap), "
    "the report of an evaluation (.json), or the folder of a training (such as runs/...-trot)"
)


def page_of(path: Path) -> tuple[str, Path]:
    """Return the page of what a path holds, and where it is written if nobody says where.

    Raises:
        ReportError: The path holds none of what has a page.
        RunError: A file of a run or an evaluation cannot be read.
        TrainingError: A file of a training cannot be read.
        ModuleNotFoundError: Bokeh is not installed.
    """
    path = _file_of(path)
    if path.name == "progress.jsonl":
        # Its rows are TensorBoard's too, which a robot computer does not have.
        from training.pages.learning import training_page

        return training_page(path.parent), path.with_name("report.html")
    out = path.with_suffix(".html")
    if path.suffix in LOG_SUFFIXES:
        return run_page(read_recording(path)), out
    report = read_object(path)
    if {"ticks", "faults"} <= report.keys():
        return run_page(read_recording(path)), out
    if {"episodes", "survived", "falls"} <= report.keys():
        return evaluation_page(report, path.name), out
    raise ReportError(f"{path} is no report of a run or an evaluation: {_GIVE}")


def _file_of(path: Path) -> Path:
    """Return the file that tells what a path holds: the path itself, or one in a folder.

    Raises:
        ReportError: There is none.
    """
    if not path.exists():
        raise ReportError(f"there is no {path}: {_GIVE}")
    folder = path.parent if path.name == "config.json" else path
    if (folder / "config.json").is_file():
        return folder / "progress.jsonl"
    if path.is_file():
        if path.suffix not in (".json", ".jsonl", *LOG_SUFFIXES):
            raise ReportError(f"{path} has no page: {_GIVE}")
        return path
    if (path / "run.json").is_file():
        return path / "run.json"
    # A run may have both kinds: of its .npz, which comes later, every tick is there.
    files = sorted(each for each in path.iterdir() if each.suffix in LOG_SUFFIXES)
    logs = {each.stem: each for each in files}
    if len(logs) != 1:
        found = f"{len(logs)} flight logs, name one of them" if logs else f"no run: {_GIVE}"
        raise ReportError(f"{path} has {found}")
    return next(iter(logs.values()))


def report(
    path: tyro.conf.Positional[Path] = Path("runs-robot/last"),
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.html")] = None,
) -> int:
    """Make one HTML page of a run, an evaluation or a training.

    The page needs no other file and no network: it opens from a disk or a mail, on a phone too.

    Args:
        path: A run's folder, its report (.json) or its log (.npz, .mcap); the report of an
            evaluation (.json); or the folder of a training.
        out: Where to write the page. Left out, it goes beside what it shows.
    """
    if out is not None and out.suffix != ".html":
        raise ReportError(f"--out {out} must end in .html")
    if out is not None:
        prove_writable(out)
    page, beside = page_of(path)
    where, data = out or beside, page.encode()
    written = write_somewhere(where, lambda place: write_atomically(place, data))
    if written is not None:
        large = ", more than a mail may take" if len(data) > MOST_BYTES else ""
        print(f"wrote {written} ({len(data) / 1e6:.1f} MB{large})")
    return EXIT_OK if written == where else EXIT_FAULT


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return tyro.cli(report, args=arguments, prog="minitaur report")


if __name__ == "__main__":
    sys.exit(main())
