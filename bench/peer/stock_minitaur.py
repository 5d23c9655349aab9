"""Control steps per second of the stock `pybullet_envs` trotting Minitaur, as one JSON line.

Runs inside `.venv-peer` (see setup.sh) and imports nothing of this project. The environment is
taken as its constructor makes it, without rendering; with a zero action it follows its own
reference trot. Only `env.step` is timed: resets, which are slow here, count for nobody.
"""

import argparse
import json
import os
import time
import warnings

# The generated protobuf modules of pybullet_envs predate protobuf's compiled parser.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
from pybullet_envs.minitaur.envs.minitaur_trotting_env import MinitaurTrottingEnv  # noqa: E402

WARMUP_STEPS = 50


def measure(urdf_version: str, steps: int, amplitude_rad: float, seed: int) -> dict[str, object]:
    """Step the environment and report its speed and the settings that it really used.

    Args:
        urdf_version: the robot model, by the name that the environment knows.
        steps: how many control steps to time.
        amplitude_rad: bound of the uniform random action; 0 for the zero action.
        seed: seed of the actions.
    """
    env = MinitaurTrottingEnv(urdf_version=urdf_version)
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-amplitude_rad, amplitude_rad, (WARMUP_STEPS + steps, 8))
    env.reset()
    elapsed_s, resets = 0.0, 0
    for index, row in enumerate(actions):
        action = row.copy()  # `env.step` adds the reference gait to the caller's array
        start_s = time.perf_counter()
        _, _, done, _ = env.step(action)
        if index >= WARMUP_STEPS:
            elapsed_s += time.perf_counter() - start_s
        if done:
            env.reset()
            resets += 1
    engine = env._pybullet_client.getPhysicsEngineParameters()
    return {
        "control_steps_per_s": steps / elapsed_s,
        "control_steps": steps,
        "sim_step_s": engine["fixedTimeStep"],
        "action_repeat": env._action_repeat,
        "solver_iterations": engine["numSolverIterations"],
        "urdf_version": urdf_version,
        "resets": resets,
    }


def main() -> None:
    """Parse the arguments, measure, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="control steps to time")
    parser.add_argument("--urdf", default="default", choices=("default", "rainbow_dash_v0"))
    parser.add_argument("--amplitude", type=float, default=0.0, help="random action bound, rad")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.steps < 1 or not 0.0 <= args.amplitude <= 0.25:
        parser.error("--steps must be at least 1 and --amplitude within 0 to 0.25")

    # PyBullet prints to the C stdout; send that to stderr so that stdout is the JSON line alone.
    stdout = os.dup(1)
    os.dup2(2, 1)
    result = measure(args.urdf, args.steps, args.amplitude, args.seed)
    os.write(stdout, (json.dumps(result) + "\n").encode())


if __name__ == "__main__":
    main()
