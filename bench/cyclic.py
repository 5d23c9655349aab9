"""How late this computer wakes a thread in C that sleeps to absolute deadlines, as JSON, in us.

The least that any loop can do; `bench.loop_timing` runs it beside ours, with the same priority and
the same locked memory. `python -m bench.cyclic --period-us 6000 --seconds 10`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
from pathlib import Path

import numpy as np

from deploy.loop.clock import realtime
from robot_firmware_bridge.c_library import CLibrary

_SOURCE = Path(__file__).with_suffix(".c")


def main() -> int:
    """Sleep and wake, then print how late that was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--period-us", type=int, default=6000)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    library = ctypes.CDLL(str(CLibrary("cyclic", "the sleeper", (_SOURCE,), ()).build()))
    late_ns = np.zeros(round(args.seconds * 1e6 / args.period_us), dtype=np.int64)
    sleep = library.sleep_periodically
    sleep.argtypes = (ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    with realtime() as setup:
        error = sleep(1000 * args.period_us, len(late_ns), late_ns.ctypes.data)
    if error:
        raise OSError(error, os.strerror(error))
    p50, p99, most = (float(np.percentile(late_ns, q)) / 1000.0 for q in (50, 99, 100))
    print(json.dumps({"p50": p50, "p99": p99, "max": most, "scheduler": setup.scheduler}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
