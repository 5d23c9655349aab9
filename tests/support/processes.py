"""Programs that tests start, and conditions that tests wait for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# No test needs this long; a shared machine may.
PATIENCE_S = 60.0


def run_python(*arguments, **environment):
    """Run Python with these arguments from the project's root; return the ended process."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def until(condition, meanwhile=lambda: None, patience_s=PATIENCE_S):
    """Wait until a condition holds, and do ``meanwhile`` before every look but the first."""
    end_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end_s, "it never came"
        meanwhile()
        time.sleep(0.005)
