"""Options, fixtures, reruns and reports of the checks.

The rules of reruns. A check that fails while this computer stalled proves nothing. It is made again
once the computer is calm, up to four times, and its figure then reports what disturbed it. A check
that is disturbed in every try has failed, for whether the robot is safe is not known. Only a walk
on a board that does not keep time is skipped then, since the emulated board walks in real time.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import signal
import time
from collections.abc import Generator, Iterator
from typing import Any, TypedDict

import pytest

from deploy.errors import DeployError
from deploy.files import write_atomically
from hil.boards import KINDS, Board, CheckFailed, Disturbed, Figure, await_calm
from hil.loop_run import Command, connected
from hil.options import add_options, chosen_kinds, refusal
from hil.raw_host import RawHost, introduced
from robot_firmware_bridge.errors import BridgeError
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot
from sim.errors import SimError

_RERUNS = 4
# A try that hangs ends after this, beside the time that the user chose.
_TIMEOUT_S = 600.0
_NO_CONSOLE = "for simulated robots: a fault is injected, or the robot walks"
_FAILURES = (AssertionError, CheckFailed, DeployError, SimError, BridgeError, OSError)
_COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}


class Trial:
    """What is known of one check over all its tries.

    Attributes:
        board: The board it is made on; None before that is started.
        begun_s: When the newest try began.
        disturbances: What disturbed the tries so far.
    """

    def __init__(self) -> None:
        self.board: Board | None = None
        self.begun_s = time.monotonic()
        self.disturbances: list[str] = []

    @property
    def note(self) -> str:
        """What disturbed the tries, for people."""
        return "; ".join(f"before: {what}" for what in self.disturbances)


_TRIAL = pytest.StashKey[Trial]()
# Of each board kind: the time in s for further disturbed tries, and whether it cannot be had.
_ALLOWANCE = pytest.StashKey[dict[str, float]]()
_ABSENT = pytest.StashKey[set[str]]()


# --- options and collection ---------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the checks."""
    add_options(parser.getgroup("hardware in the loop").addoption)


def pytest_configure(config: pytest.Config) -> None:
    """Check the options; make every way to end this program the way of Ctrl-C, which is safe."""
    if (reason := refusal(config.option)) is not None:
        raise pytest.UsageError(reason)
    if "real" in chosen_kinds(config.option) and not config.option.yes:
        raise pytest.UsageError("a real robot must be on a stand, hands clear: confirm with --yes")
    for marker in ("simulated: needs a simulated robot", "walks: a simulated robot walks"):
        config.addinivalue_line("markers", marker)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    config.stash[_ALLOWANCE] = dict.fromkeys(KINDS, config.option.allowance)
    config.stash[_ABSENT] = set()
    config.pluginmanager.register(Results(config))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make every check on every chosen board kind."""
    if "board" in metafunc.fixturenames:
        kinds = chosen_kinds(metafunc.config.option)
        metafunc.parametrize("board", kinds, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is made again, what a real board cannot be put through, and how long a try lasts."""
    timeout_s = _TIMEOUT_S + 2.0 * config.option.seconds
    for item in items:
        kind = _kind(item)
        name = item.name.removeprefix("test_").replace(f"[{kind}]", "").replace(f"{kind}-", "")
        title = (inspect.getdoc(getattr(item, "obj", None)) or name).splitlines()[0]
        item.user_properties += [("board", kind), ("check", name), ("title", title)]
        item.add_marker(pytest.mark.flaky(reruns=_RERUNS, only_rerun=Disturbed))
        item.add_marker(pytest.mark.timeout(timeout_s, method="signal", func_only=True))
        simulated = any(item.get_closest_marker(name) for name in ("simulated", "walks"))
        if kind == "real" and simulated:
            item.add_marker(pytest.mark.skip(reason=_NO_CONSOLE))


def _kind(item: pytest.Item) -> str:
    """Return the name of the board kind that the check is made on."""
    return str(getattr(item, "callspec").params["board"])  # noqa: B009 (not of every Item)


# --- fixtures -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    """The running board; every check that finds none is left out, but for the first."""
    option = request.config.option
    kind = KINDS[request.param]
    board = Board(kind, option.port if kind.module is None else None, option.baud)
    with contextlib.ExitStack() as stack:
        request.config.stash[_ABSENT].add(kind.name)
        if (reason := kind.unavailable()) is not None:
            pytest.skip(reason)
        stack.callback(board.stop)
        board.start()
        request.config.stash[_ABSENT].discard(kind.name)
        yield board


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
def connection(board: Board) -> Iterator[tuple[SerialLink, SerialRobot]]:
    """The real link and its robot; at the end it disarms the board."""
    with connected(board) as connection:
        yield connection


@pytest.fixture
def robot(connection: tuple[SerialLink, SerialRobot]) -> SerialRobot:
    """The robot by the real link."""
    return connection[1]


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """How long a check runs whose figure gains from time."""
    return float(request.config.option.seconds)


@pytest.fixture(scope="session")
def command(request: pytest.FixtureRequest) -> Command:
    """The command `deploy.run`, with its policy and the folder of its reports."""
    folder = request.config.option.report.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    return Command(request.config.option.policy, folder)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Records what the check measured, in the reports and for people."""

    def record(text: str, **values: object) -> None:
        note = request.node.stash[_TRIAL].note
        request.node.user_properties += [
            ("figure", f"{text} ({note})" if note else text),
            *values.items(),
        ]

    return record


# --- reruns -------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Leave out the checks of a board that cannot be had: one line reports that."""
    item.stash[_TRIAL] = Trial()
    return True if _kind(item) in item.config.stash[_ABSENT] else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Judge what goes wrong before the check."""
    yield from _judged(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Judge what goes wrong in the check."""
    yield from _judged(item)


def _judged(item: pytest.Item) -> Generator[None, None, None]:
    """Decide whether a failure is the board's, or this computer's.

    Raises:
        Disturbed: This computer may be the reason; the check is made again.
    """
    trial = item.stash[_TRIAL]
    try:
        yield
    except _FAILURES as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        if isinstance(error, OSError):
            reason = f"the port failed: {reason}"
        if trial.board is not None:
            trial.board.is_suspect = True
            disturbance = trial.board.disturbance()
            if isinstance(error, Disturbed) or disturbance:
                while_ = "" if isinstance(error, Disturbed) else f", while {disturbance}"
                trial.disturbances.append(f"{reason}{while_}")
                _make_again(item, trial, trial.board)
        if trial.note:
            reason += f" ({trial.note})"
        item.user_properties.append(("figure", reason))
        raise
    except BaseException:
        if trial.board is not None:
            trial.board.is_suspect = True
        raise


def _make_again(item: pytest.Item, trial: Trial, board: Board) -> None:
    """End a disturbed try, so that the check is made again while there is time.

    No exception here has a cause: the reruns look for Disturbed in causes too.
    """
    left_s = item.config.stash[_ALLOWANCE][board.kind.name] - (time.monotonic() - trial.begun_s)
    if len(trial.disturbances) <= _RERUNS and left_s > 0.0:
        raise Disturbed(trial.disturbances[-1]) from None
    text = f"disturbed in every try ({trial.note})"
    if excused(board.kind.keeps_time, item.get_closest_marker("walks") is not None):
        pytest.skip(text)
    item.user_properties.append(("figure", text))
    raise CheckFailed(text) from None


def excused(keeps_time: bool, walks: bool) -> bool:
    """Return whether a check that was disturbed in every try is skipped; else it failed."""
    return walks and not keeps_time


# --- reports ------------------------------------------------------------------------------------


class Result(TypedDict):
    """What came of one check on one board."""

    board: str
    check: str
    title: str
    outcome: str
    figure: str
    values: dict[str, Any]
    seconds: float


class Results:
    """The results for people, at the end of the output, and for programs, as JSON."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._results: dict[str, Result] = {}
        self._seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the last outcome of every check."""
        key = report.nodeid
        self._seconds[key] = self._seconds.get(key, 0.0) + report.duration
        if report.outcome in ("failed", "skipped") or (
            report.outcome == "passed" and report.when == "call"
        ):
            self._results[key] = _result(report)
        if key in self._results:
            self._results[key]["seconds"] = round(self._seconds[key], 2)

    def counts(self) -> dict[str, int]:
        """Return how many checks had each outcome."""
        outcomes = [result["outcome"] for result in self._results.values()]
        return {outcome: outcomes.count(outcome) for outcome in _COLOURS}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the report, whole or not at all; none of a session that was interrupted."""
        if self._results and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            path = self._config.option.report
            path.parent.mkdir(parents=True, exist_ok=True)
            data = {**self.counts(), "results": list(self._results.values())}
            write_atomically(path, f"{json.dumps(data, indent=2, allow_nan=False)}\n".encode())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show every check with its figure."""
        if not self._results:
            return
        terminalreporter.section("hardware in the loop")
        for result in self._results.values():
            outcome = result["outcome"]
            terminalreporter.write(f"{outcome:8}", **{_COLOURS[outcome]: True})
            terminalreporter.write_line(
                f"{result['board']:9}{result['title']} ({result['seconds']:.1f} s): "
                f"{result['figure']}"
            )
        counts = ", ".join(f"{number} {outcome}" for outcome, number in self.counts().items())
        terminalreporter.write_line(f"{counts}; report {self._config.option.report}")


def _result(report: pytest.TestReport) -> Result:
    """Return the result that a report of pytest's is."""
    values = dict(report.user_properties)
    board, check, title = (str(values.pop(key)) for key in ("board", "check", "title"))
    figure = str(values.pop("figure", ""))
    if isinstance(report.longrepr, tuple):  # of a skip: file, line, reason
        figure = report.longrepr[2].removeprefix("Skipped: ")
    elif report.failed and not figure:
        crash = getattr(report.longrepr, "reprcrash", None)
        figure = str(crash.message if crash else report.longrepr).splitlines()[0]
    return Result(
        board=board,
        check=check,
        title=title,
        outcome=report.outcome,
        figure=figure,
        values=values,
        seconds=0.0,
    )
