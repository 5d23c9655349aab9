"""Are the decoded policies of `pybullet_data` those that the published code runs?

Runs each in the stock environment (`.venv-peer`, built on first use), which decodes the range of
observations and actions itself, and then gives our policy file, through our pipeline, all that it
saw: both must command the same motor angles. Prints how the policy fared there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common import ROOT, BenchError
from bench.plant_throughput import PEER_PYTHON, build_peer
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from robot_firmware_bridge.messages import RobotState
from studies.peers import PEERS, Peer, PeerError, read_tensors, write_made

PEER_SCRIPT = ROOT / "bench" / "peer" / "stock_policy.py"
# The network is computed in single precision here and in double there.
TOLERANCE_RAD = 1e-5
_STATE = ("normalize_observ/", "network/rnn/policy/")


def rotation(rpy_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Body to world, shape (3, 3): yaw, then pitch, then roll."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy_rad), np.cos(rpy_rad)
    roll = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    pitch = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    turned: NDArray[np.float64] = yaw @ pitch @ roll
    return turned


def run_stock(
    peer: Peer, seconds: float, noise: float, seed: int, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return figures and trace of the policy in the stock environment.

    Raises:
        BenchError: The environment fails.
    """
    tensors, trace = folder / "tensors.npz", folder / "trace.npz"
    state = read_tensors(peer.checkpoint, lambda n: n.startswith(_STATE) and "optim" not in n)
    arrays: dict[str, Any] = dict(state)
    np.savez(tensors, **arrays)
    command = [PEER_PYTHON, PEER_SCRIPT, "--environment", peer.folder, "--seconds", seconds]
    command += ["--tensors", tensors, "--trace", trace, "--imu-noise", noise, "--seed", seed]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BenchError(f"the stock environment failed: {done.stderr.strip().splitlines()[-1]}")
    with np.load(trace) as arrays:
        return json.loads(done.stdout), dict(arrays)


def largest_difference_rad(policy: OnnxPolicy, trace: dict[str, Any]) -> float:
    """Return the largest difference between the commands of both sides, over a trace."""
    controller = Controller(policy.contract, policy)
    worst = 0.0
    keys = ("t_s", "rpy_rad", "world_rate_rad_s", "motor_rad", "command_rad")
    for t_s, rpy, rate, motors, command in zip(*(trace[key] for key in keys), strict=True):
        state = RobotState(
            t_ns=round(t_s * 1e9),
            motor_position_rad=motors,
            motor_velocity_rad_s=np.zeros(8),
            motor_torque_nm=np.zeros(8),
            rpy_rad=rpy,
            angular_rate_rad_s=rotation(rpy).T @ rate,
            battery_v=16.0,
        )
        ours = controller.targets(controller.infer(controller.observe(state, t_s)), t_s)
        worst = max(worst, float(np.abs(ours - command).max()))
    return worst


def main() -> int:
    """Run the command line; exit code 0 when both sides agree on every policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--imu-noise", type=float, default=0.0, help="then nothing is compared")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise")
    args = parser.parse_args()
    agreed = True
    try:
        build_peer()
        with tempfile.TemporaryDirectory() as scratch:
            for name, peer in PEERS.items():
                file = Path(scratch) / f"{name}.onnx"
                write_made(name, file)
                figures, trace = run_stock(
                    peer, args.seconds, args.imu_noise, args.seed, Path(scratch)
                )
                if args.imu_noise == 0.0:
                    difference = largest_difference_rad(OnnxPolicy.load(file), trace)
                    figures["difference_rad"] = difference
                    agreed &= difference <= TOLERANCE_RAD
                print(json.dumps({"policy": name, **figures}))
    except (BenchError, PeerError) as error:
        print(f"bench.peer_policies: {error}", file=sys.stderr)
        return 2
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
