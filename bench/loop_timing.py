"""What one tick of the deploy loop costs, and how well the loop holds its rate.

Runs the shipped trot against the simulator at wall-clock pace and quotes the run's own report: the
compute time of a tick (read to write) and the wake-up jitter, against the control period.
`python -m bench.loop_timing`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.common import ROOT, BenchError, Entry, write_entries


def main() -> int:
    """Measure and keep the entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--policy", default="policies/trot.onnx")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "run.json"
        command = [sys.executable, "-m", "deploy.run", "--policy", args.policy, "--robot", "sim"]
        options = ["--seconds", str(args.seconds), "--report", str(report), "--video", "none"]
        done = subprocess.run(
            [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise BenchError(f"the run failed: {done.stderr.strip().splitlines()[-1:]}")
        run = json.loads(report.read_text())
    period_us = run["period_s"] * 1e6
    print(
        f"loop_timing: compute p50 {run['compute_us']['p50']:.0f} us, "
        f"p99 {run['compute_us']['p99']:.0f} us, "
        f"jitter p99 {run['jitter_us']['p99']:.0f} us, {run['overruns']} overruns in "
        f"{run['ticks']} ticks of {period_us:.0f} us"
    )
    how = f"shipped trot, simulator paced by the wall clock, {args.seconds:g} s, one run"
    write_entries(
        [
            Entry(
                "loop_compute_p99",
                run["compute_us"]["p99"],
                "us",
                f"{how}; lower is better",
                limit=period_us,
            ),
            Entry(
                "loop_jitter_p99",
                run["jitter_us"]["p99"],
                "us",
                f"{how}; lower is better",
                limit=period_us,
            ),
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
