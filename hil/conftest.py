"""Options, fixtures, reruns and reports of the checks.

The rules of reruns. A check that fails while this computer stalled proves nothing. It is made again
once the computer is calm, up to four times, and its figure then reports what disturbed it. A check
that is disturbed in every try has failed, for whether the robot is safe is not known. Only a walk
on a board that does not keep time is skipped then, since the emulated board walks in real time.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import re
import signal
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.errors import DeployError
from deploy.files import write_atomically
from hil.boards import KINDS, REAL, Board, CheckFailed, Disturbed, Record, await_calm
from hil.loop_run import CheckedRobot, Command, connected
from hil.raw_host import RawHost, introduced
from robot_firmware_bridge.errors import BridgeError
from sim.errors import SimError

_RERUNS = 4
# A try that hangs ends after this, beside the time that the user chose.
_TIMEOUT_S = 600.0
_NO_CONSOLE = "for simulated robots: a fault is injected, or the robot walks"
_FAILURES = (
    AssertionError, CheckFailed, DeployError, SimError, BridgeError, OSError, pytest.fail.Exception,
)  # fmt: skip
_COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}


@dataclass
class Trial:
    """What is known of one check over all its tries: its board, once started, and disturbances."""

    board: Board | None = None
    begun_s: float = field(default_factory=time.monotonic)
    disturbances: list[str] = field(default_factory=list)


_TRIAL = pytest.StashKey[Trial]()
# The time that is left for disturbed tries of each board kind, in s, and the kinds not to be had.
_ALLOWANCE = pytest.StashKey[dict[str, float]]()
_ABSENT = pytest.StashKey[set[str]]()


# --- options and collection ---------------------------------------------------------------------


def add_options(add: Callable[..., object]) -> None:
    """Add every option, by argparse's `add_argument` or pytest's `addoption`."""
    policy, report = Path("policies/trot.onnx"), Path("build/hil.json")
    add("--port", metavar="PATH", help="serial port of a real motor controller")
    add("--baud", type=int, default=921600, help="bits per second on that port (921600)")
    add("--yes", action="store_true", help="the real robot is on a stand, hands clear: do not ask")
    which = f"which of {','.join(KINDS)}; left out, real if there is a port, else the others"
    add("--boards", default="", metavar="KINDS", help=which)
    for name, default, what in (
        ("--seconds", 60.0, "how long the full-duplex check runs on each board"),
        ("--patience", 15.0, "seconds to wait for a calm computer before a check is made again"),
        ("--allowance", 240.0, "seconds that disturbed tries may take on each board"),
    ):
        add(name, type=float, default=default, metavar="S", help=f"{what} ({default:g})")
    walks = f"policy of the checks in which the simulated robot walks ({policy})"
    add("--policy", type=Path, default=policy, metavar="ONNX", help=walks)
    beside = f"report; JUnit's XML and the reports of runs lie beside it ({report})"
    add("--report", type=Path, default=report, metavar="JSON", help=beside)


def chosen_kinds(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the names of the board kinds to check."""
    others = tuple(name for name in KINDS if name != REAL.name)
    named = tuple(re.findall(r"[^,\s]+", options.boards))
    return named or ((REAL.name,) if options.port else others)


def needs_yes(options: argparse.Namespace) -> bool:
    """Return whether a real robot will be armed that nobody has confirmed to be on a stand."""
    return REAL.name in chosen_kinds(options) and not options.yes


def refusal(options: argparse.Namespace) -> str | None:
    """Return why these options cannot be used, in one line; None if they can."""
    kinds = chosen_kinds(options)
    for name in kinds:
        if name not in KINDS:
            return f"there is no board kind {name!r}; there are {', '.join(KINDS)}"
    if REAL.name in kinds and not options.port:
        return "the real board needs its serial port: --port, or make hil PORT=..."
    if options.port and REAL.name not in kinds:
        return "--port is for the real board, which is not among --boards"
    if not (math.isfinite(options.seconds) and options.seconds > 0.0):
        return f"seconds must be positive, not {options.seconds}"
    if options.report.suffix != ".json":
        return f"report {options.report} must end in .json"
    if not options.policy.is_file():
        return f"no policy file {options.policy}"
    return None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the checks."""
    add_options(parser.getgroup("hardware in the loop").addoption)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options; let a terminal that closes end the session as Ctrl-C does, safely."""
    if (reason := refusal(config.option)) is not None:
        raise pytest.UsageError(reason)
    if needs_yes(config.option):
        raise pytest.UsageError("a real robot must be on a stand, hands clear: say so with --yes")
    for marker in (
        "simulated: needs a simulated robot",
        "walks: a simulated robot walks",
        "stock: for the Minitaur's own mainboard",
    ):
        config.addinivalue_line("markers", marker)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    config.stash[_ALLOWANCE] = dict.fromkeys(KINDS, config.option.allowance)
    config.stash[_ABSENT] = set()
    config.pluginmanager.register(Results(config))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make every check on every chosen board kind that it is for."""
    stock = any(mark.name == "stock" for mark in metafunc.definition.iter_markers())
    kinds = [name for name in chosen_kinds(metafunc.config.option) if KINDS[name].stock is stock]
    metafunc.parametrize("board", kinds, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is made again, how long a try may last, and what a real board is spared."""
    timeout_s = _TIMEOUT_S + 2.0 * config.option.seconds
    # Checks that are for none of the chosen kinds have no board.
    others = [item for item in items if _kind(item) not in KINDS]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    for item in items:
        kind = _kind(item)
        name = item.name.removeprefix("test_").replace(f"[{kind}]", "").replace(f"{kind}-", "")
        title = (inspect.getdoc(getattr(item, "obj", None)) or name).splitlines()[0]
        item.user_properties += [("board", kind), ("check", name), ("title", title)]
        item.add_marker(pytest.mark.flaky(reruns=_RERUNS, only_rerun=Disturbed))
        item.add_marker(pytest.mark.timeout(timeout_s, method="signal", func_only=True))
        if kind == REAL.name and {"simulated", "walks"} & {
            mark.name for mark in item.iter_markers()
        }:
            item.add_marker(pytest.mark.skip(reason=_NO_CONSOLE))


def _kind(item: pytest.Item) -> str:
    """Return the name of the board kind that the check is made on."""
    callspec = getattr(item, "callspec")  # noqa: B009 (not every item has one; these do)
    return str(callspec.params["board"])


# --- fixtures -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    """The running board; if it cannot be had, one check reports that for all."""
    option, kind = request.config.option, KINDS[request.param]
    absent = request.config.stash[_ABSENT]
    absent.add(kind.name)
    if (reason := kind.unavailable()) is not None:
        pytest.skip(reason)
    board = Board(kind, option.port if kind is REAL else None, option.baud)
    try:
        board.start()
        absent.discard(kind.name)
        yield board
    finally:
        board.stop()


@pytest.fixture(autouse=True)
def _begin(request: pytest.FixtureRequest, board: Board) -> None:
    """Begin a try on a board that the check before left in order, and on a calm computer."""
    trial = request.node.stash[_TRIAL]
    trial.board = board
    board.begin_check()
    if trial.disturbances:
        await_calm(request.config.option.patience)
        now_s = time.monotonic()
        request.config.stash[_ALLOWANCE][board.kind.name] -= now_s - trial.begun_s
        trial.begun_s = now_s


@pytest.fixture
def host(board: Board) -> Iterator[RawHost]:
    """A host that speaks frame by frame; at the end it disarms the board."""
    with introduced(board) as host:
        yield host


@pytest.fixture
def robot(board: Board) -> Iterator[CheckedRobot]:
    """The robot by the real link; at the end it disarms the board."""
    with connected(board) as robot:
        yield robot


@pytest.fixture(scope="session")
def command(request: pytest.FixtureRequest) -> Command:
    """The command `deploy.run`, with its policy and the folder of its reports."""
    return Command(request.config.option.policy, request.config.option.report.with_suffix(""))


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Records what the check measured, in the reports and for people."""
    properties: list[tuple[str, object]] = request.node.user_properties
    return lambda **values: properties.extend(values.items())


# --- reruns -------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Leave out the checks of a board that cannot be had: one result reports that."""
    item.stash[_TRIAL] = Trial()
    return True if _kind(item) in item.config.stash[_ABSENT] else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Decide whether a failure, before the check or in it, is the board's or this computer's.

    No exception has a cause or context here, since reruns look for Disturbed in these too.

    Raises:
        Disturbed: This computer may be the reason; the check is made again.
        CheckFailed: It may be the reason in every try.
    """
    trial = item.stash[_TRIAL]
    if trial.board is not None:
        trial.board.is_suspect = True
    try:
        yield
    except _FAILURES as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        if isinstance(error, OSError):
            reason = f"the port failed: {reason}"
        disturbance = "" if trial.board is None else trial.board.disturbance()
        if isinstance(error, Disturbed):
            trial.disturbances.append(reason)
        elif disturbance:
            trial.disturbances.append(f"{reason}, while {disturbance}")
        else:
            item.user_properties.append(("figure", reason))
            raise
    else:
        if trial.board is not None:
            trial.board.is_suspect = False
        return
    left_s = item.config.stash[_ALLOWANCE][_kind(item)] - (time.monotonic() - trial.begun_s)
    if len(trial.disturbances) <= _RERUNS and left_s > 0.0:
        raise Disturbed(trial.disturbances[-1]) from None
    text = f"disturbed in every try, at last: {trial.disturbances[-1]}"
    if item.get_closest_marker("walks") and not KINDS[_kind(item)].keeps_time:
        pytest.skip(text)
    item.user_properties.append(("figure", text))
    raise CheckFailed(text) from None


pytest_runtest_call = pytest_runtest_setup


# --- reports ------------------------------------------------------------------------------------


class Results:
    """The results for people, at the end of the output, and for programs, as JSON."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._results: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the last outcome of every check, its time in all tries, and what disturbed them."""
        new = {"outcome": "", "figure": "", "values": {}, "seconds": 0.0, "before": []}
        result = self._results.setdefault(report.nodeid, new)
        result["seconds"] += report.duration
        if str(report.outcome) == "rerun":
            result["before"].append(_reason(report))
        elif report.when == "call" or report.outcome != "passed":
            values = dict(report.user_properties)
            result |= {key: values.pop(key) for key in ("board", "check", "title")}
            figure = values.pop("figure", None) or _reason(report) or _text(values)
            before = "; ".join(f"before: {what}" for what in result["before"])
            result["figure"] = f"{figure} ({before})" if before else figure
            result |= {"outcome": report.outcome, "values": values}

    def _counts(self) -> dict[str, int]:
        outcomes = [result["outcome"] for result in self._results.values()]
        return {outcome: outcomes.count(outcome) for outcome in _COLOURS}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the report, whole or not at all; none of a session that was interrupted."""
        if self._results and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            path = self._config.option.report
            path.parent.mkdir(parents=True, exist_ok=True)
            keys = ("board", "check", "title", "outcome", "figure", "values", "seconds")
            results = [{key: result[key] for key in keys} for result in self._results.values()]
            data = json.dumps({**self._counts(), "results": results}, indent=2, allow_nan=False)
            write_atomically(path, f"{data}\n".encode())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show every check with its figures."""
        if not self._results:
            return
        terminalreporter.section("hardware in the loop")
        for result in self._results.values():
            if outcome := result["outcome"]:
                where = f"{result['board']:9}{result['check']:34}{result['seconds']:6.1f} s  "
                terminalreporter.write(f"{outcome:8}", **{_COLOURS[outcome]: True})
                terminalreporter.write_line(f"{where}{result['figure'] or result['title']}")
        counts = ", ".join(f"{number} {outcome}" for outcome, number in self._counts().items())
        terminalreporter.write_line(f"{counts}; report {self._config.option.report}")


def _reason(report: pytest.TestReport) -> str:
    """Return why a check did not pass, in one line; nothing if it did."""
    if isinstance(report.longrepr, tuple):  # of a skip: file, line, reason
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(crash.message if crash else report.longrepr or "")
    return message.partition("\n")[0].removeprefix("hil.boards.Disturbed: ")


def _text(values: dict[str, Any]) -> str:
    """Return what was measured, for people."""
    pairs = ((name, f"{v:.4g}" if isinstance(v, float) else v) for name, v in values.items())
    return ", ".join(f"{name} {value}" for name, value in pairs)
