"""A soak: run after run on the emulated board, each with a harm, for an hour. `minitaur soak`.

Every trial is a real `minitaur run` over a pseudo terminal. A harm of ``hil.harms`` is done to it
at a drawn moment. Afterwards the soak checks what must hold whatever happened: the exit code, the
name of the fault, report and log, what was printed, and that the board damped and was not driven
again.

Trial ``i`` of a seed is always the same harm at the same moment. The trials that have ended are
lines of one file, so the same command goes on where the last one stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import policies
from deploy.errors import RunError
from deploy.files import write_atomically
from deploy.record.flight_log import FlightLog
from hil.boards import KINDS, Board, CheckFailed, await_calm
from hil.fault_injection import inject
from hil.harms import BY_NAME, HARMS, Harm, rss_kb
from hil.loop_run import answer, connected
from robot_firmware_bridge.command_line import EXIT_FAULT, EXIT_OK, STOP_SIGNALS, command
from robot_firmware_bridge.errors import MinitaurError
from robot_firmware_bridge.messages import Mode
from sim.board.process import Event

_TRIALS = "trials.jsonl"
_STAND_UP_S = 2.0
_START_S = 60.0
_END_S = 60.0
# The life of a command, what the line and the board add, and the time in which it is reported.
_DAMPED_S = 1.0
# A process that grows by more than this a trial leaks. In its first two minutes a board grows by
# 30 kB a trial: the tick times that it keeps.
_LEAK_KB = 50.0
_LEAK_TRIALS = 20
# The board's slowest model, which is of heat, needs this to see that a harm was taken back.
_MEND_S = 0.5
# A consequence of the first fault, which a run reports besides.
_FOLLOWS = frozenset({"robot_fault", "robot_link", "stale_state"})


# A trial that this computer disturbed is made again, once the computer is calm.
_TRIES, _CALM_S = 3, 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """Soak the control loop on the emulated board: run after run, each with a random harm.

    Exit codes: 0 nothing was wrong, 1 something was, 2 bad input, 130 interrupted. Ended early, the
    same command goes on after the last trial.
    """

    minutes: float = 60.0
    """Time for all trials together, those of earlier calls included."""
    seed: int = 0
    """Decides which harm comes when."""
    seconds: float = 3.0
    """How long the policy runs in a trial."""
    policy: Path = Path("trot")
    """Policy file, or the name of a shipped one."""
    only: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Draw this harm; may be repeated. Default: every harm, and none as often."""
    folder: Path = Path("build/soak")
    """Folder of trials.jsonl, soak.json, soak.md, and of the runs in which something was wrong."""

    def check(self) -> None:
        """Refuse what cannot be soaked.

        Raises:
            RunError: Names the option and what it must be.
        """
        if not self.minutes > 0.0:
            raise RunError(f"minutes must be positive, not {self.minutes}")
        if not self.seconds >= 1.0:
            raise RunError(f"seconds must be 1 or more, not {self.seconds}")
        for name in self.only:
            if name not in BY_NAME:
                raise RunError(f"no harm {name!r} for --only; there are {', '.join(BY_NAME)}")


@dataclass(frozen=True, slots=True)
class Draw:
    """What happens in a trial.

    Attributes:
        harm: Name of the harm.
        moment_s: When, since the board was active.
    """

    harm: str
    moment_s: float


def draw(seed: int, index: int, seconds: float, names: Sequence[str]) -> Draw:
    """Return what happens in trial ``index`` of a seed: every harm once in each round."""
    round_, place = divmod(index, len(names))
    order = random.Random(f"{seed} round {round_}").sample(list(names), len(names))
    moment_s = random.Random(f"{seed} trial {index}").uniform(0.3, _STAND_UP_S + seconds - 0.5)
    return Draw(order[place], moment_s)


@dataclass(slots=True)
class Result:
    """What came of a trial: a line of trials.jsonl.

    Attributes:
        wrong: What must not be, one line each; empty for a good trial.
        disturbed: This computer stalled in every try, so that a wrong fault proves nothing.
        tries: How often it was made.
    """

    seed: int
    index: int
    harm: str
    moment_s: float
    code: int | None = None
    faults: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    disturbed: bool = False
    tries: int = 1
    seconds: float = 0.0
    board_kb: float = 0.0
    soak_kb: float = 0.0
    board_pid: int = 0


class Trial:
    """One run under way; a ``hil.harms.Victim``."""

    def __init__(self, board: Board, folder: Path, harm: Harm, drawn: Draw, seed: int) -> None:
        self.board, self.folder, self.harm, self.drawn = board, folder, harm, drawn
        self.rng = random.Random(f"{seed} {drawn}")
        self.mends: list[str] = []
        self.spared = False  # the run stopped before the harm was done
        self._terminal: int | None = None

    @property
    def pid(self) -> int:
        """The process of the run."""
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send the process of the run a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def hang_up(self) -> None:
        """Close the terminal of the run."""
        if self._terminal is not None:
            os.close(self._terminal)
        self._terminal = None

    def run(self, policy: Path, seconds: float) -> tuple[int, str]:
        """Start the run, harm it, and wait for its end; return its exit code and its stderr.

        Raises:
            CheckFailed: It does not end.
        """
        if self.harm.policy is not None:
            spoiled = self.folder / "spoiled.onnx"
            spoiled.write_bytes(self.harm.policy(policies.find(policy).read_bytes()))
            policy = spoiled
        words = ["run", "--robot", "serial", "--port", self.board.port, "--arm", "--no-plot"]
        words += ["--seconds", str(seconds), "--logdir", str(self.folder), *self.harm.words]
        words += [] if "--policy" in words else ["--policy", str(policy)]
        if self.harm.before:
            self.harm.act(self)
        since = len(self.board.process.events())
        self._process = self._start([sys.executable, "-m", "minitaur", *words])
        try:
            if self._await_active(since) and not self.harm.before:
                time.sleep(self.drawn.moment_s)
                self.spared = not self.board.is_in(Mode.ACTIVE, since)
                if not self.spared:
                    self.harm.act(self)
            _, stderr = self._process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired as error:
            raise CheckFailed(f"the run did not end within {_END_S:.0f} s") from error
        finally:
            self._process.kill()
            self._process.communicate()
            self.hang_up()
        return self._process.returncode, stderr or ""

    def _start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        """Start the command and answer yes, in a terminal of its own if the harm needs one."""
        spare = self.folder / "tmp"  # where a run writes what it cannot write to its folder
        spare.mkdir()
        environment = {**os.environ, "TMPDIR": str(spare)}
        if not self.harm.terminal:
            pipe = subprocess.PIPE
            run = subprocess.Popen(
                words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment,
                preexec_fn=_listen_to_signals,
            )  # fmt: skip
            answer(run)
            return run
        self._terminal, end = os.openpty()
        try:
            run = subprocess.Popen(
                words, stdin=end, stdout=end, stderr=end, text=True, env=environment,
                start_new_session=True, preexec_fn=_own_terminal,
            )  # fmt: skip
        finally:
            os.close(end)
        _answer_at(self._terminal, run)
        return run

    def _await_active(self, since: int) -> bool:
        """Wait until the board drives; return False if the run ended before."""
        end_s = time.monotonic() + _START_S
        while time.monotonic() < end_s:
            if self.board.was(Mode.ACTIVE, since):
                return True
            if self._process.poll() is not None:
                return False
            time.sleep(0.01)
        raise CheckFailed(f"the board was not active within {_START_S:.0f} s")


def _answer_at(terminal: int, run: subprocess.Popen[str]) -> None:
    """Type yes once a run asks for it at its terminal: what is typed before is no answer."""
    text, end_s = b"", time.monotonic() + _START_S
    with contextlib.suppress(OSError):  # it was refused, and has ended by now
        while b"Type yes" not in text and time.monotonic() < end_s and run.poll() is None:
            if select.select([terminal], [], [], 0.1)[0]:
                text += os.read(terminal, 4096)
        os.write(terminal, b"yes\n")


def _listen_to_signals() -> None:
    """Take no notice of what the soak's own shell ignores, as with nohup or in the background."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def _own_terminal() -> None:
    """Make standard input the terminal of this new session: its end is a SIGHUP."""
    _listen_to_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


# --- what must hold -------------------------------------------------------------------------------


def problems(harm: Harm, code: int, report: dict[str, Any] | None, details: str) -> Iterator[str]:
    """Yield what is wrong with the end of a run: its exit code, its faults, its report."""
    faults = None if report is None else list(report["faults"])
    if harm.writes and faults is None:
        yield "no report"
    if faults is not None:
        first, others = faults[0] if faults else "", set(faults[1:])
        if first not in harm.accepted or not others <= harm.accepted | _FOLLOWS:
            named = ", ".join(faults) or "no fault"
            accepted = " or ".join(sorted(name or "no fault" for name in harm.accepted))
            yield f"wrong diagnosis: {named}, should be {accepted}: {details}"
        elif first and harm.says not in details:
            yield f"wrong diagnosis: no {harm.says!r} in: {details}"
    codes = harm.codes or {EXIT_FAULT if faults else EXIT_OK}
    if code not in codes:
        yield f"exit code {code}, should be {' or '.join(map(str, sorted(codes)))}"


def log_problem(path: Path) -> str | None:
    """Return why a flight log is no good; None for a good one."""
    try:
        log = FlightLog.load(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, MinitaurError) as error:
        return f"missing log: {path}: {error}"
    return None if len(log) else f"missing log: {path} has no tick"


def driven_after_damping(events: Sequence[Event], armed: bool) -> Iterator[str]:
    """Yield what is wrong with what the board did: events since before the run was started."""
    modes = [
        Mode.DISARMED.name if event["event"] == "boot" else event["mode"]
        for event in events
        if event["event"] in ("boot", "mode")
    ]
    active = [place for place, mode in enumerate(modes) if mode == Mode.ACTIVE.name]
    if not active:
        if armed:
            yield "the board was never active"
        return
    if not armed:
        yield "the board was driven, though the run was refused"
    if active != [active[0]]:
        yield f"driven after damping: {', '.join(modes)}"
    if modes[-1] in (Mode.ACTIVE.name, Mode.READY.name):
        yield f"not damped at the end: {', '.join(modes)}"


# --- one trial ------------------------------------------------------------------------------------


def trial(board: Board, options: Options, index: int, names: Sequence[str]) -> Result:
    """Make a trial and return its result; never raises for what the run or the board does."""
    began_s = time.monotonic()
    drawn = draw(options.seed, index, options.seconds, names)
    harm = BY_NAME[drawn.harm]
    result = Result(options.seed, index, drawn.harm, round(drawn.moment_s, 3))
    folder = options.folder.resolve() / f"trial-{options.seed}-{index:05d}"
    shutil.rmtree(folder, ignore_errors=True)  # of a trial that was interrupted
    folder.mkdir(parents=True)
    this = Trial(board, folder, harm, drawn, options.seed)
    try:
        board.begin_check()
        with connected(board):
            pass  # disarmed, without a fault, on its stand
        since = len(board.process.events())
        result.code, stderr = this.run(options.policy, options.seconds)
        _judge(result, this, stderr, since)
        _mend(this)
    except (MinitaurError, CheckFailed, OSError) as error:
        result.wrong.append(f"{type(error).__name__}: {error}")
    result.disturbed = _excused(result, this)
    if not harm.kills_board:
        result.board_pid, result.board_kb = board.process.pid, round(rss_kb(board.process.pid))
    result.soak_kb = round(rss_kb(os.getpid()))
    board.is_suspect = bool(result.wrong) or harm.kills_board  # it is started afresh
    if not result.wrong:
        shutil.rmtree(folder)
    result.seconds = round(time.monotonic() - began_s, 2)
    return result


def _judge(result: Result, this: Trial, stderr: str, since: int) -> None:
    """Note everything that is wrong with a run that has ended."""
    harm, code = this.harm, result.code
    moved = sorted(this.folder.glob("tmp/*/run.json")) or sorted(this.folder.glob("2*/run.json"))
    report = json.loads(moved[-1].read_text()) if moved else None
    result.faults = [] if report is None else report["faults"]
    result.details = [] if report is None else report["fault_details"]
    details = "; ".join(result.details) or stderr.strip().replace("\n", " | ")
    if this.spared:
        result.wrong.append(f"it stopped before the harm was done: {details}")
        return
    result.wrong += problems(harm, -1 if code is None else code, report, details)
    if (
        harm.writes
        and harm.arms
        and moved
        and (problem := log_problem(moved[-1].with_suffix(".npz")))
    ):
        result.wrong.append(problem)
    if "Traceback" in stderr:
        result.wrong.append(f"a traceback: {stderr.strip().splitlines()[-1]}")
    if not moved and not stderr.strip() and code is not None and code >= 0:
        result.wrong.append("neither a report nor a word on stderr")
    if not harm.kills_board:
        if harm.arms:
            this.board.process.wait_event(_safe, _DAMPED_S, since)
        events = this.board.process.events()[since:]
        result.wrong += driven_after_damping(events, harm.arms)


def _excused(result: Result, this: Trial) -> bool:
    """Return whether this computer stalled, which may change the name of an end and no more."""
    of_names = ("wrong diagnosis", "exit code", "it stopped before")
    names_only = all(line.startswith(of_names) for line in result.wrong)
    if not result.wrong or not names_only:
        return False
    details = " ".join(result.details)
    late = "this computer was late" in details or "this computer is busy" in details
    board_lives = this.spared or not this.harm.kills_board
    return late or _is_busy() or (board_lives and bool(this.board.disturbance()))


def _is_busy() -> bool:
    """Return whether other programs want more than this computer has; a soak alone wants two."""
    return os.getloadavg()[0] > 2.0 * max(2, os.cpu_count() or 1)


def _safe(event: Event) -> bool:
    safe = (Mode.DAMPING.name, Mode.DISARMED.name, Mode.FAULT.name)
    return bool(event["event"] == "boot" or (event["event"] == "mode" and event["mode"] in safe))


def _mend(this: Trial) -> None:
    """Take the harm back."""
    for order in this.mends:
        inject(this.board, order)
        time.sleep(_MEND_S)


# --- all trials -----------------------------------------------------------------------------------


def soak(options: Options, say: Callable[[str], None] = print) -> list[Result]:
    """Make trials until the time is over; return all, those of earlier calls included.

    Raises:
        RunError: An option is wrong, or the board cannot be had.
        KeyboardInterrupt: A signal asked for an end; the trials so far are kept.
    """
    options.check()
    names = options.only or tuple(harm.name for harm in HARMS)
    options.folder.mkdir(parents=True, exist_ok=True)
    results = _of_seed(options)
    board = Board(KINDS["emulated"], None, 921600)
    if (reason := board.kind.unavailable()) is not None:
        raise RunError(reason)
    try:
        board.start()
        while sum(result.seconds for result in results) < 60.0 * options.minutes:
            result = _undisturbed_trial(board, options, len(results), names)
            results.append(result)
            with (options.folder / _TRIALS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(dataclasses.asdict(result)) + "\n")
            say(_line(result))
    finally:
        board.stop()
    return results


def _undisturbed_trial(board: Board, options: Options, index: int, names: Sequence[str]) -> Result:
    """Make a trial; make it again where this computer disturbed it, once the computer is calm."""
    seconds = 0.0
    for tries in range(1, _TRIES + 1):
        result = trial(board, options, index, names)
        seconds += result.seconds
        result.tries, result.seconds = tries, round(seconds, 2)
        if not result.disturbed:
            break
        await_calm(_CALM_S)
    return result


def _of_seed(options: Options) -> list[Result]:
    results = read(options.folder / _TRIALS)
    return [result for result in results if result.seed == options.seed]


def read(path: Path) -> list[Result]:
    """Read the trials of a file, without the last one if its line was cut; none if it is absent."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if whole != lines:
        write_atomically(path, "".join(whole).encode())
    return [Result(**json.loads(line)) for line in whole]


def _line(result: Result) -> str:
    """Return a trial in one line."""
    end = "; ".join(result.wrong) or ", ".join(result.faults) or "no fault"
    verdict = "good" if not result.wrong else "disturbed" if result.disturbed else "WRONG"
    return f"{result.index:5} {verdict:9} {result.harm:26} {result.seconds:5.1f} s  {end}"


# --- the end --------------------------------------------------------------------------------------

_MEMORIES = ("board_kb", "soak_kb")
_COLUMNS = ("harm", "trials", "good", "wrong", "diagnosis", "log", "driven", "disturbed", "mean_s")


def table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return what happened by harm: one row a harm, by ``_COLUMNS``, and one for all."""

    def row(name: str, of: Sequence[Result]) -> dict[str, Any]:
        def count(words: str) -> int:
            return sum(any(words in line for line in each.wrong) for each in wrong)

        wrong = [each for each in of if each.wrong and not each.disturbed]
        good = sum(not each.wrong for each in of)
        mean_s = round(float(np.mean([each.seconds for each in of])), 1)
        counts = count("wrong diagnosis"), count("missing log"), count("driven after damping")
        disturbed = len(of) - good - len(wrong)
        values = (name, len(of), good, len(wrong), *counts, disturbed, mean_s)
        return dict(zip(_COLUMNS, values, strict=True))

    names = dict.fromkeys(each.harm for each in sorted(results, key=lambda each: each.harm))
    rows = [row(name, [each for each in results if each.harm == name]) for name in names]
    return [*rows, row("all", results)] if results else []


def growth_kb(results: Sequence[Result], name: str) -> float | None:
    """Return the growth of ``board_kb`` or ``soak_kb`` a trial; None if too few are known.

    A board is a new process now and then; the worst of those that lived long enough counts.
    """
    slopes = []
    for pid in {each.board_pid for each in results}:
        kb = [getattr(each, name) for each in results if each.board_pid == pid != 0]
        if len(kb) >= _LEAK_TRIALS:
            slopes.append(float(np.polyfit(np.arange(len(kb)), kb, 1)[0]))
    return max(slopes, default=None)


def summary(results: Sequence[Result]) -> tuple[str, dict[str, Any]]:
    """Return the end of a soak for people, as Markdown, and for programs."""
    rows = table(results)
    grown = {name: growth_kb(results, name) for name in _MEMORIES}
    cells = [_COLUMNS, *(tuple(str(row[name]) for name in _COLUMNS) for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(_COLUMNS))]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    kb = [
        f"{name} {'unknown' if value is None else f'{value:+.1f}'}" for name, value in grown.items()
    ]
    lines += ["", f"Growth of memory in kB a trial: {', '.join(kb)}; bound {_LEAK_KB:g}."]
    bad = [each for each in results if each.wrong]
    lines += ["", *(f"- `{_line(each).strip()}`" for each in bad)] if bad else []
    data = {"rows": rows, "growth_kb_per_trial": grown, "ok": is_good(results)}
    return "\n".join(lines), data


def is_good(results: Sequence[Result]) -> bool:
    """Return whether nothing was wrong but what this computer disturbed, and no memory leaked."""
    leaks = any((growth_kb(results, name) or 0.0) > _LEAK_KB for name in _MEMORIES)
    return not leaks and all(not each.wrong or each.disturbed for each in results)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = tyro.cli(Options, args=arguments, prog="minitaur soak")
    try:
        soak(options, lambda line: print(line, flush=True))
    finally:
        results = _of_seed(options)
        if results:
            _conclude(results, options.folder)
    return EXIT_OK if is_good(results) else EXIT_FAULT


def _conclude(results: Sequence[Result], folder: Path) -> None:
    """Show the summary and write it."""
    text, data = summary(results)
    print(f"\n{text}")
    write_atomically(folder / "soak.md", f"{text}\n".encode())
    write_atomically(folder / "soak.json", f"{json.dumps(data, indent=2)}\n".encode())
    print(f"\nwritten  {folder}/soak.md, soak.json, trials.jsonl")


if __name__ == "__main__":
    sys.exit(main())
