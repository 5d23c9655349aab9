"""All benchmarks, one after the other, into `build/bench.json`: `make bench`."""

import argparse
import subprocess
import sys

from bench.common import BENCH_JSON, ROOT

_BENCHMARKS = (
    "plant_throughput",
    "environment_step",
    "collection",
    "loop_timing",
    "live_view",
    "wire_codec",
)

if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m bench", description=__doc__).parse_args()
    failed = [
        name
        for name in _BENCHMARKS
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=ROOT, check=False).returncode
    ]
    print(f"wrote {BENCH_JSON.relative_to(ROOT)}" + (f"; failed: {failed}" if failed else ""))
    sys.exit(bool(failed))
