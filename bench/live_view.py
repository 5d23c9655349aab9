"""Benchmark: what the live view shows, and what it costs the control loop.

The shipped trot against the emulated motor controller, over the serial protocol. In turn without
the view and with it, while somebody looks: a client that takes all that a browser is sent and draws
nothing, since where a browser runs is up to the user. `python -m bench.live_view`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import ROOT, BenchError, Entry, write_entries
from bench.page_watcher import watch

_FRAMES_PER_S, _RATIO_LIMIT = 30.0, 1.1
# Standing up comes before, damping after.
_BEFORE_S = 3.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run; 99th percentiles in us.

    Attributes:
        jitter_us: How late the loop woke.
        compute_us: From reading the state to the sent command.
        frames_per_s: How often the robot was drawn anew; 0 without the view.
        fault: What ended the run early; empty if nothing did. On a busy computer a state of the
            board comes late.
    """

    jitter_us: float
    compute_us: float
    frames_per_s: float
    fault: str


def measure(policy: Path, robot: str, seconds: float, view: bool) -> Run:
    """Run once.

    Raises:
        BenchError: The run never began.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "run.json"
        command = [
            *(sys.executable, "-m", "deploy.run", "--policy", str(policy), "--robot", robot),
            *("--no-plot", "--seconds", str(seconds), "--report", str(report)),
            *(["--view"] if view else []),
        ]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        frames_per_s = _look(process, seconds) if view else 0.0
        out, errors = process.communicate()
        found: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
        if found.get("jitter_us") is None:
            raise BenchError(f"the run failed:\n{out}{errors}")
    fault = ", ".join(found["faults"])
    return Run(found["jitter_us"]["p99"], found["compute_us"]["p99"], frames_per_s, fault)


def _look(process: subprocess.Popen[str], seconds: float) -> float:
    """Look at the page of a run from its beginning; return its frames per second while it ran."""
    assert process.stdout is not None
    words = process.stdout.readline().split()
    if len(words) < 2:  # the run says why, when it has ended
        return 0.0
    port = int(words[1].rpartition(":")[2])
    while process.poll() is None and not watch("127.0.0.1", port, 0.5).frames:
        pass  # the robot is being opened
    return watch("127.0.0.1", port, seconds - _BEFORE_S).frames_per_s


def main() -> int:
    """Measure and keep the entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0, help="length of a run")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs")
    parser.add_argument("--policy", type=Path, default=Path("policies/trot.onnx"))
    parser.add_argument("--robot", default="emulator", help="kind of the robot")
    args = parser.parse_args()
    pairs = [
        (
            measure(args.policy, args.robot, args.seconds, view=False),
            measure(args.policy, args.robot, args.seconds, view=True),
        )
        for _ in range(args.rounds)
    ]
    how = f"{args.policy.stem}, {args.robot}, {args.rounds} pairs of runs of {args.seconds:g} s"
    frames = statistics.median(seen.frames_per_s for _, seen in pairs)
    print(f"live_view: {frames:.1f} frames per second (wanted {_FRAMES_PER_S:g})")
    early = [[run.fault for run in side if run.fault] for side in zip(*pairs, strict=True)]
    print(f"live_view: ended early: without the view {early[0]}, with it {early[1]}")
    how += f", of which {len(early[0])} without and {len(early[1])} with the view ended early"
    entries = [
        Entry("live_view_frames", frames, "1/s", f"{how}; higher is better", limit=_FRAMES_PER_S)
    ]
    for name, field in (("jitter", "jitter_us"), ("compute", "compute_us")):
        without, seen = ([getattr(run, field) for run in side] for side in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in zip(without, seen, strict=True))
        ours, peer = statistics.median(seen), statistics.median(without)
        print(
            f"live_view: {name} p99 {ours:.0f} us, without the view {peer:.0f}, ratio {ratio:.2f} "
            f"(at most {_RATIO_LIMIT}); each: {[round(a) for a in without]} and "
            f"{[round(b) for b in seen]}"
        )
        entries.append(
            Entry(
                f"live_view_{name}",
                ours,
                "us",
                f"{how}; p99; other: without the view; lower is better",
                peer=peer,
                ratio=ratio,
            )
        )
    write_entries(entries)
    return 0


if __name__ == "__main__":
    sys.exit(main())
