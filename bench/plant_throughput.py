"""Control steps per second of our plant beside the stock `pybullet_envs` Minitaur.

Both trot open loop with the same reference gait, 6 physics ticks of 1 ms per control step, on
one core, the stock side in a process of its own (`.venv-peer`, built on first use). Two entries:
`plant_throughput` against the stock environment as its constructor makes it, and
`plant_throughput_same_robot` against it on `rainbow_dash_v0`, the robot that our plant simulates.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common import ROOT, BenchError, Entry, paired, write_entries

PEER_SETUP = ROOT / "bench" / "peer" / "setup.sh"
PEER_SCRIPT = ROOT / "bench" / "peer" / "stock_minitaur.py"
PEER_PYTHON = ROOT / ".venv-peer" / "bin" / "python"
PEER_TIMEOUT_S = 600
ENTRIES = {
    "plant_throughput": "default",
    "plant_throughput_same_robot": "rainbow_dash_v0",
}

TICKS_PER_CONTROL_STEP = 6
CONTROL_PERIOD_S = 0.006
WARMUP_STEPS = 50


def fill_trot(t_s: float, target_rad: NDArray[np.float64]) -> None:
    """Write the open-loop trot at time `t_s` into `target_rad`, 8 motor angles in motor order."""
    phase = 4.0 * math.pi * t_s
    swing = 0.3 * math.sin(phase)
    extension = 0.35 * math.cos(phase)
    for leg, sign in enumerate((1.0, -1.0, -1.0, 1.0)):  # FL and BR against BL and FR
        side = 1.0 if leg < 2 else -1.0
        target_rad[2 * leg] = 2.0 + sign * (extension - side * swing)
        target_rad[2 * leg + 1] = 2.0 + sign * (extension + side * swing)


def our_control_steps_per_s(steps: int) -> float:
    """Trot our plant open loop for `steps` control steps; the reset is not timed.

    A control step commands, advances 6 ticks and senses, as the stock `env.step` observes too.
    """
    from sim.plant.params import PlantParams
    from sim.plant.registry import make_plant

    plant = make_plant()
    plant.reset(PlantParams())
    target_rad = np.empty(8)
    start_s = 0.0
    for step in range(WARMUP_STEPS + steps):
        if step == WARMUP_STEPS:
            start_s = time.perf_counter()
        fill_trot(step * CONTROL_PERIOD_S, target_rad)
        plant.command(target_rad, plant.robot.kp, plant.robot.kd)
        plant.advance(TICKS_PER_CONTROL_STEP)
        plant.sense()
    elapsed_s = time.perf_counter() - start_s
    plant.close()
    return steps / elapsed_s


def build_peer() -> None:
    """Build `.venv-peer` unless it is there.

    Raises:
        BenchError: with the line that the setup script printed.
    """
    done = subprocess.run(["sh", str(PEER_SETUP)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise BenchError(f"the peer cannot be built: {lines[-1]}")


def peer_measurement(steps: int, urdf_version: str) -> dict[str, Any]:
    """Run the stock environment once in its own interpreter and return what it printed.

    Raises:
        BenchError: if it fails or takes too long.
    """
    command = [PEER_PYTHON, PEER_SCRIPT, "--steps", str(steps), "--urdf", urdf_version]
    try:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            check=True,
            timeout=PEER_TIMEOUT_S,
        )
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"the stock environment took more than {PEER_TIMEOUT_S} s") from error
    except subprocess.CalledProcessError as error:
        line = (error.stderr or "no message").strip().splitlines()[-1]
        raise BenchError(f"the stock environment failed: {line}") from error
    except (ValueError, IndexError) as error:
        raise BenchError("the stock environment printed no JSON line") from error
    return result


def how(settings: dict[str, Any], steps: int, rounds: int) -> str:
    """Describe the measurement in one line; `settings` are those that the peer reported."""
    return (
        f"open-loop trot, one core, 6 x 1 ms per control step, {rounds} alternating rounds of "
        f"{steps} steps, resets not timed; peer: stock MinitaurTrottingEnv.step, "
        f"{settings['urdf_version']} model, {settings['action_repeat']} x "
        f"{1e3 * settings['sim_step_s']:g} ms, {settings['solver_iterations']} solver iterations; "
        "medians, ratio = median of pairwise ours/peer, higher is better"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure both entries, print them and keep them in `build/bench.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="control steps per round")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs per entry")
    parser.add_argument("--peer-only", action="store_true", help="measure the stock side alone")
    args = parser.parse_args(arguments)
    if args.steps < 1 or args.rounds < 1:
        parser.error("--steps and --rounds must be at least 1")

    try:
        build_peer()
        entries = []
        for name, urdf_version in ENTRIES.items():
            settings = peer_measurement(1, urdf_version)

            def run_peer(urdf_version: str = urdf_version) -> float:
                return float(peer_measurement(args.steps, urdf_version)["control_steps_per_s"])

            if args.peer_only:
                speeds = sorted(run_peer() for _ in range(args.rounds))
                print(f"{urdf_version}: " + ", ".join(f"{speed:.0f}" for speed in speeds) + " /s")
                continue
            result = paired(lambda: our_control_steps_per_s(args.steps), run_peer, args.rounds)
            entries.append(
                Entry(
                    name=name,
                    ours=result.a,
                    peer=result.b,
                    ratio=result.ratio,
                    unit="control steps/s",
                    how=how(settings, args.steps, args.rounds),
                )
            )
            print(f"{name}: {result.a:.0f} / {result.b:.0f} /s, ratio {result.ratio:.2f}")
        if entries:
            write_entries(entries)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
