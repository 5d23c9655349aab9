"""Benchmark: how punctual the control loop is, and what one of its ticks costs.

The shipped trot against the emulated motor controller, over the serial protocol. Beside it, in the
same seconds, a thread in C sleeps to the same period with the same priority: what this computer can
do at best. Both idle and with every core busy. `python -m bench.loop_timing`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.common import ROOT, BenchError, Entry, write_entries
from deploy.policy.onnx_policy import OnnxPolicy

_JITTER_LIMIT = 1.5
_COMPUTE_LIMIT_US = 300.0


@dataclass(frozen=True, slots=True)
class Round:
    """Some seconds of loop and sleeper side by side; 99th percentiles in us.

    Attributes:
        jitter_us: How late the loop woke.
        sleeper_us: How late the sleeper in C woke.
        compute_us: A tick of the loop, from reading the state to the sent command.
        scheduler: What the system granted to both.
    """

    jitter_us: float
    sleeper_us: float
    compute_us: float
    scheduler: str


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy with a process of ordinary priority."""
    spinning = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def measure(policy: Path, seconds: float) -> Round:
    """Run loop and sleeper once, at the same time.

    Raises:
        BenchError: One of them failed.
    """
    period_us = round(OnnxPolicy.load(policy).contract.control_period_s * 1e6)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "run.json"
        run = ["deploy.run", "--policy", str(policy), "--robot", "emulator", "--no-plot"]
        options = ["--seconds", str(seconds), "--report", str(report)]
        sleep = ["bench.cyclic", "--period-us", str(period_us), "--seconds", str(seconds)]
        sleeper = _start(sleep)
        loop = _start([*run, *options])
        sleeper_out, loop_out = _output(sleeper), _output(loop)
        if not report.exists():
            raise BenchError(f"the run wrote no report: {loop_out.strip()}")
        found = json.loads(report.read_text())
    slept = json.loads(sleeper_out)
    return Round(
        found["jitter_us"]["p99"], slept["p99"], found["compute_us"]["p99"], slept["scheduler"]
    )


def _start(module: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *module]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def _output(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate()
    if process.returncode != 0:
        line = (errors.strip().splitlines() or ["no message"])[-1]
        raise BenchError(f"{process.args!r} failed: {line}")
    return out


def entries(name: str, rounds: list[Round], how: str) -> list[Entry]:
    """Return jitter and compute time of some rounds."""
    jitter, sleeper, compute = (
        statistics.median(getattr(each, field) for each in rounds)
        for field in ("jitter_us", "sleeper_us", "compute_us")
    )
    ratio = statistics.median(each.jitter_us / each.sleeper_us for each in rounds)
    print(
        f"loop_{name}: wake-up jitter p99 {jitter:.0f} us, sleeper in C {sleeper:.0f}, ratio "
        f"{ratio:.2f} (at most {_JITTER_LIMIT}); compute p99 {compute:.0f} us (at most "
        f"{_COMPUTE_LIMIT_US:.0f}); {rounds[0].scheduler}"
    )
    return [
        Entry(f"loop_jitter_{name}", jitter, "us", f"{how}; p99", peer=sleeper, ratio=ratio),
        Entry(f"loop_compute_{name}", compute, "us", f"{how}; p99", limit=_COMPUTE_LIMIT_US),
    ]


def main() -> int:
    """Measure and keep the entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds idle, and rounds with load")
    parser.add_argument("--policy", type=Path, default=Path("policies/trot.onnx"))
    args = parser.parse_args()
    idle, loaded = [], []
    for _ in range(args.rounds):
        idle.append(measure(args.policy, args.seconds))
        with busy_cores():
            loaded.append(measure(args.policy, args.seconds))
    how = (
        f"{args.policy.stem} on the emulated board, {args.rounds} alternating rounds of "
        f"{args.seconds:g} s; other: clock_nanosleep in C at the same time; lower is better"
    )
    write_entries(
        [*entries("idle", idle, how), *entries("loaded", loaded, f"{how}; every core busy")]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
