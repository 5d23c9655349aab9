"""One engine for every study: a list of jobs, one JSON file for each finished result.

A job has a name, plain arguments, and a function that computes its figures. Its result is written
to ``build/STUDY/COMMIT/`` as soon as it is finished. A study that was killed or interrupted goes on
with the next job. A job that fails is reported and left out.

A finished result counts as done if its arguments are those of the job, and its commit is that of
the working tree or one that the person names with ``--commit``. The published table,
``docs/results/STUDY.json``, has results of the same form, and they count by the same rule. Every
table says at which commit a result was computed.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from deploy.files import write_atomically, write_json
from robot_firmware_bridge.command_line import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_OK
from robot_firmware_bridge.errors import MinitaurError

T = TypeVar("T")
# Called with the finished part of a job, from 0 to 1.
Report = Callable[[float], None]


class StudyError(MinitaurError):
    """Root of the errors that a study raises on purpose: bad input, or a damaged file."""


# What can go wrong with one job and need not go wrong with the next.
FAILURES = (MinitaurError, OSError, BrokenExecutor)
PUBLISHED = Path("docs/results")
_ROOT = Path(__file__).parent.parent
# What studies and people write beside the code. A policy file is an argument of its results.
_NOT_CODE = (":(exclude)docs", ":(exclude)policies", ":(exclude)tests", ":(exclude)*.md")


@dataclass(frozen=True, slots=True)
class Job:
    """A result to be computed or found.

    Attributes:
        name: What people call the job.
        arguments: What decides the figures, together with the code; values that JSON has.
        compute: Computes the figures, in values that JSON has; reports its progress.
    """

    name: str
    arguments: dict[str, Any]
    compute: Callable[[Report], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Result:
    """A finished job, as it is written to its file and to the published table.

    Attributes:
        name: Name of the job.
        arguments: Arguments of the job.
        commit: Commit of the code that computed the figures.
        took_s: Time that computing took.
        figures: What came of the job.
    """

    name: str
    arguments: dict[str, Any]
    commit: str
    took_s: float
    figures: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Study(ABC):
    """What every study has; the attributes are options of the command line.

    Attributes:
        workers: Processes; 0 for this one. The figures do not depend on it.
        results: Folder of the results, one file each.
        out: Folder for table and figure; docs/results for the whole study, else RESULTS. A study
            that is not complete writes them to RESULTS.
        commit: Commits whose results count as done too, as the table names them. Whoever names a
            commit decides that the code still does what it did there.
    """

    name: ClassVar[str]

    workers: int = 2
    results: Path = Path("build")
    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    commit: tuple[str, ...] = ()

    @property
    def published(self) -> Path:
        """The published table."""
        return PUBLISHED / f"{self.name}.json"

    @property
    def folder(self) -> Path:
        """Folder for table and figure of a complete study; PUBLISHED if nothing is left out."""
        own = [field for field in fields(self) if field not in fields(Study)]
        whole = all(getattr(self, f.name) == f.default for f in own if f.name != "results")
        return self.out or (self.published.parent if whole else self.results)

    def check(self) -> None:
        """Refuse options that are not positive; WORKERS may be 0.

        Raises:
            StudyError: Names the option and its value.
        """
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if isinstance(value, int | float) and (value < 0 or (value == 0 and name != "workers")):
                raise StudyError(f"{name} must be positive, got {value}")

    @abstractmethod
    def jobs(self, commit: str) -> list[Job]:
        """List every job, in the order of computing, for code of a commit; refuse bad options."""

    @abstractmethod
    def line(self, result: Result) -> str:
        """Return the figures of a result in one line."""

    @abstractmethod
    def page(self, results: Sequence[Result]) -> str:
        """Return results as a Markdown page."""

    @abstractmethod
    def draw(self, results: Sequence[Result], path: Path) -> None:
        """Draw results as PNG."""

    def published_figures(self, result: Result) -> dict[str, Any]:
        """Return the figures that the published table has; all of them, if not overridden."""
        return result.figures

    def write(self, results: Sequence[Result], missing: Sequence[str], folder: Path) -> list[Path]:
        """Write page, table and figure to a folder, and return the files."""
        paths = [folder / f"{self.name}.{suffix}" for suffix in ("md", "json", "png")]
        page = self.page(results)
        if missing:
            page += f"\n{len(missing)} results are missing:\n\n"
            page += "".join(f"- {line}\n" for line in missing)
        write_atomically(paths[0], page.encode())
        rows = [asdict(r) | {"figures": self.published_figures(r)} for r in results]
        write_json(paths[1], {"missing": missing, "results": rows})
        self.draw(results, paths[2])
        return paths


def working_commit(root: Path = _ROOT) -> str:
    """Return the commit of a working tree; ``unknown`` outside a repository.

    A tree whose code differs from its commit is ``COMMIT-dirty-DIGEST``, with a digest of the
    difference. Untracked files and documents do not count.
    """

    def git(*arguments: str) -> str:
        command = ("git", *arguments)
        done = subprocess.run(command, cwd=root, capture_output=True, check=True)
        return done.stdout.decode(errors="replace")

    try:
        head = git("rev-parse", "--short=7", "HEAD").strip()
        difference = git("diff", "HEAD", "--", ".", *_NOT_CODE)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + (f"-dirty-{_digest(difference)}" if difference else "")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _key(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments, sort_keys=True)


def finished(study: Study, commit: str) -> dict[str, Result]:
    """Read the results that count as done, by their arguments as text.

    Raises:
        StudyError: The published table is not one, or a named commit has no result.
    """
    commits = (*study.commit, commit)
    there = [*_in_table(study.published), *_in_files(study.results, commits)]
    if absent := set(study.commit) - {result.commit for result in there}:
        where = f"{study.results} and {study.published}"
        raise StudyError(f"no results of commit {', '.join(sorted(absent))} in {where}")
    return {_key(result.arguments): result for result in there if result.commit in commits}


def _in_table(path: Path) -> list[Result]:
    try:
        return [Result(**row) for row in json.loads(path.read_text())["results"]]
    except FileNotFoundError:
        return []
    except (ValueError, LookupError, TypeError) as error:
        raise StudyError(f"{path} is not the table of a study: {error!r}") from error


def _in_files(folder: Path, commits: Sequence[str]) -> Iterator[Result]:
    for path in (path for commit in commits for path in (folder / commit).glob("*.json")):
        try:
            yield Result(**json.loads(path.read_text()))
        except (ValueError, TypeError):
            continue  # cut off, or of something else: to be computed


def run(
    study: Study, jobs: Sequence[Job], commit: str, console: Console
) -> Iterator[tuple[Job, Result | str]]:
    """Find or compute the result of every job; yield a result, or why there is none.

    Raises:
        StudyError: See :func:`finished`.
    """
    done = finished(study, commit)
    todo = [job for job in jobs if _key(job.arguments) not in done]
    for job in jobs:
        if (result := done.get(_key(job.arguments))) is not None:
            console.print(f"{job.name}: {study.line(result)} (done at {result.commit})")
            yield job, result
    console.print(f"{len(jobs)} results, {len(jobs) - len(todo)} done before, {len(todo)} to go")
    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    progress = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=3600.0,
    )
    bar = progress.add_task("", total=len(todo))
    with progress:
        for number, job in enumerate(todo, start=1):
            progress.update(bar, description=job.name)
            found: Result | str
            try:
                found = _compute(job, study.results / commit, commit, progress)
                left = timedelta(seconds=round(progress.tasks[0].time_remaining or 0.0))
                line = f"{study.line(found)} ({found.took_s:.0f} s, {left} to go)"
            except FAILURES as error:
                found = line = f"failed: {error}"
            console.print(f"{number}/{len(todo)} {job.name}: {line}")
            progress.update(bar, completed=number)
            yield job, found


def _compute(job: Job, folder: Path, commit: str, progress: Progress) -> Result:
    """Compute a job, write its result to a folder, and return it."""
    start_s, before = time.monotonic(), progress.tasks[0].completed
    figures = job.compute(
        lambda share: progress.update(progress.tasks[0].id, completed=before + min(share, 1.0))
    )
    result = Result(job.name, job.arguments, commit, round(time.monotonic() - start_s, 3), figures)
    write_json(folder / f"{job.name}.{_digest(_key(job.arguments))}.json", asdict(result))
    return result


def conduct(study: Study) -> int:
    """Conduct a study from the command line and write its table and figure.

    Returns:
        The exit code: 0 if all results are there, 1 if some failed, 130 when interrupted.

    Raises:
        MinitaurError: The study cannot be conducted.
        OSError: Its results cannot be written.
    """
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    code, outcome = EXIT_OK, dict[str, Result | str]()
    commit = working_commit()
    study.check()
    jobs = study.jobs(commit)
    try:
        for job, result in run(study, jobs, commit, console):
            outcome[job.name] = result
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    reasons = {job.name: outcome.get(job.name, "not computed yet") for job in jobs}
    results = [result for result in reasons.values() if isinstance(result, Result)]
    missing = [f"{name}: {why}" for name, why in reasons.items() if isinstance(why, str)]
    paths = study.write(results, missing, study.results if missing else study.folder)
    print(f"wrote {', '.join(str(path) for path in paths)}")
    for line in missing:
        print(f"missing: {line}", file=sys.stderr)
    return code or (EXIT_FAULT if missing else EXIT_OK)


def choose(names: Sequence[str], known: Mapping[str, T]) -> list[T]:
    """Return the conditions of some names, in the order of the known ones; all for no names.

    Raises:
        StudyError: A name is unknown.
    """
    if unknown := sorted(set(names) - set(known)):
        raise StudyError(f"unknown conditions {unknown}; known: {', '.join(known)}")
    return [value for name, value in known.items() if not names or name in names]
