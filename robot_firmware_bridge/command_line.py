"""How every command of this stack ends: with an exit code, and with one line where it failed.

:func:`command` wraps the ``main`` of each command. Imports the standard library only, and little of
it, so that a command can be interrupted in good order while its own imports are under way.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import platform
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, TextIO, cast

from robot_firmware_bridge.errors import MinitaurError

EXIT_OK = 0
EXIT_FAULT = 1  # it ran, and what it found is bad
EXIT_BAD_INPUT = 2  # it was refused, or something that it needs is missing
EXIT_INTERNAL = 70  # a fault of this program; the number is EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130

STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
    if hasattr(signal, name)  # Windows has the first two
)
"""Signals that ask a command to end. A terminal that goes away sends SIGHUP."""

# The extra of pyproject.toml that brings a package which the base install lacks.
_EXTRA_OF = {
    "pybullet": "sim",
    "mujoco": "mujoco",
    "matplotlib": "plot",
    "bokeh": "plot",
    "imageio": "plot",
    "imageio_ffmpeg": "plot",
    "PIL": "plot",
    "torch": "train",
    "gymnasium": "play",
    "onnx": "train",
    "tensorboard": "train",
    "optuna": "train",
    "tabulate": "studies",
    "fastcrc": "studies",
    "ray": "cluster",
    "wandb": "wandb",
    "pytest": "hil",
}
# PyBullet's wheels, since version 3.2.7.
_PYBULLET_PYTHON = (3, 11)
_PYBULLET_SYSTEM = ("linux", "x86_64")

# The errors of a reader who left: a pipe that was closed, a terminal that hung up.
_GONE = (errno.EPIPE, errno.EIO)

P = ParamSpec("P")


def command(main: Callable[P, int]) -> Callable[P, int]:
    """Make a ``main`` that returns an exit code end well, whatever happens.

    An error of this stack, of the operating system, of a missing package or of memory becomes one
    line on stderr and :data:`EXIT_BAD_INPUT`. Any other exception is a fault of this program: its
    traceback goes to a file that the line names. Every signal of :data:`STOP_SIGNALS` raises
    KeyboardInterrupt, unless the command handles it or it was ignored from the start (nohup). An
    output that nobody reads any more ends nothing.
    """

    @functools.wraps(main)
    def guarded(*arguments: P.args, **named: P.kwargs) -> int:
        asked: list[int] = []

        def interrupt(number: int, _frame: FrameType | None) -> None:
            asked.append(number)
            raise KeyboardInterrupt

        with _patient_output() as is_broken:
            try:
                with stop_signals(interrupt):
                    code = main(*arguments, **named)
                return EXIT_FAULT if code == EXIT_OK and is_broken() else code
            except KeyboardInterrupt:
                return _interrupted()
            except (MinitaurError, OSError, ImportError, MemoryError) as error:
                if asked:  # some packages turn an interrupt of their import into another error
                    return _interrupted()
                _say(f"error: {describe(error)}")
                return EXIT_BAD_INPUT
            except Exception as error:
                if asked:
                    return _interrupted()
                _say(f"error: {describe(error)}{_where(save_traceback(error))}")
                return EXIT_INTERNAL

    return guarded


def describe(error: BaseException) -> str:
    """Return an exception as one line: the cause and, where it is known, the cure."""
    text = " ".join(str(error).split())
    if isinstance(error, MinitaurError):
        return text
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0].removesuffix("_data")
        if package in _EXTRA_OF:
            return f"this needs {package}: {cure(package)}"
    if isinstance(error, ImportError):
        return text
    if isinstance(error, MemoryError):
        return "out of memory"
    return f"internal error, {type(error).__name__}{': ' if text else ''}{text}"


def cure(package: str) -> str:
    """Return how to get an optional package of this stack, or what to do where there is none."""
    if package == "pybullet":
        system = sys.platform, platform.machine()
        if sys.version_info[:2] != _PYBULLET_PYTHON or system != _PYBULLET_SYSTEM:
            here = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {' '.join(system)}"
            return f"it has no wheel for {here}, only for 3.11 on {' '.join(_PYBULLET_SYSTEM)}"
    return f"pip install '.[{_EXTRA_OF[package]}]'"


def save_traceback(error: BaseException, path: Path | None = None) -> Path | None:
    """Write the traceback of an exception to a file; return its path, None if that failed.

    Without a path, the file is a new one in the folder for temporary files.
    """
    if path is None:
        name = f"minitaur-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
        path = Path(tempfile.gettempdir(), name)
    try:
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return None
    return path


@contextlib.contextmanager
def stop_signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle every signal that asks a command to end; ignored ones stay ignored."""
    if threading.current_thread() is not threading.main_thread():  # Python handles signals there
        yield
        return
    handled = [each for each in STOP_SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, handler) for each in handled}
    try:
        yield
    finally:
        for each, old in before.items():
            signal.signal(each, old)


class _PatientStream:
    """A text stream that drops what cannot be written, and remembers why."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def write(self, text: str) -> int:
        """Write a text, or as much of it as somebody takes."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, if somebody reads."""
        self._try(self._stream.flush)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except (OSError, ValueError) as error:  # ValueError: closed
            self.failure = self.failure or error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _patient_output() -> Iterator[Callable[[], bool]]:
    """Let stdout and stderr fail without ending the command; say so where it can be said.

    Yields what tells whether stdout lost a text that somebody wanted: a full disk, not a reader
    that had enough.
    """
    _open_standard_files()
    before = sys.stdout, sys.stderr
    patient = [_PatientStream(stream) for stream in before]
    for stream in before:
        with contextlib.suppress(AttributeError, ValueError):  # not a file of the system
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in patient)

    def broken() -> OSError | None:
        patient[0].flush()
        failure = patient[0].failure
        return failure if isinstance(failure, OSError) and failure.errno not in _GONE else None

    try:
        yield lambda: broken() is not None
    finally:
        if (failure := broken()) is not None:
            _say(f"error: standard output takes no text: {failure.strerror}")
        patient[1].flush()
        sys.stdout, sys.stderr = before
        for stream in patient:
            if stream.failure is not None:
                _discard(stream)


def _open_standard_files() -> None:
    """Put the null device where standard input, output or error is closed.

    The next file opened takes the first free number. A serial port with the number of stderr would
    get every message.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _discard(stream: _PatientStream) -> None:
    """Send what waits in a broken stream nowhere, or the interpreter would complain at its end."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _interrupted() -> int:
    _say("interrupted")
    return EXIT_INTERRUPTED


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _where(path: Path | None) -> str:
    return "" if path is None else f"; please report it with its traceback, {path}"
