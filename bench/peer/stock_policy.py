"""A shipped policy of `pybullet_data` in the stock environment that it was trained in.

Runs inside `.venv-peer` (see setup.sh) and imports nothing of this project: the network comes as an
archive of the checkpoint's variables (`bench.peer_policies` writes it), the bounds of observation
and action from the environment itself. Prints one JSON line with how it fared, and writes what it
saw and commanded at every control step, for the other side to be compared with.
"""

import argparse
import json
import os
import warnings
from typing import Any

# The generated protobuf modules of pybullet_envs predate protobuf's compiled parser.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
from pybullet_envs.minitaur.envs import minitaur_reactive_env, minitaur_trotting_env  # noqa: E402

# The environments' arguments in the config.yaml beside the checkpoints, where not the defaults.
ENVIRONMENTS = {
    "minitaur_trotting_env": minitaur_trotting_env.MinitaurTrottingEnv,
    "minitaur_reactive_env": minitaur_reactive_env.MinitaurReactiveEnv,
}
ARGUMENTS = {
    "urdf_version": "rainbow_dash_v0",
    "motor_kd": 0.015,
    "pd_latency": 0.003,
    "remove_default_joint_damping": True,
}


def action_of(tensors: dict[str, Any], env: Any, observation: Any) -> Any:
    """Return the mean action: normalisers, network, range of the action."""
    low, high = env.observation_space.low, env.observation_space.high
    x = 2 * (observation - low) / (high - low) - 1
    variance = tensors["normalize_observ/Variable_2"] / (tensors["normalize_observ/Variable"] - 1)
    x = (x - tensors["normalize_observ/Variable_1"]) / (np.sqrt(variance + 1e-4) + 1e-8)
    x = np.clip(x, -5, 5)
    for suffix in ("", "_1", "_2"):
        layer = f"network/rnn/policy/fully_connected{suffix}/"
        x = x @ tensors[layer + "weights"] + tensors[layer + "biases"]
        x = np.tanh(x) if suffix == "_2" else np.maximum(x, 0)
    return env.action_space.low + (x + 1) / 2 * (env.action_space.high - env.action_space.low)


def watch_energy(env: Any, energy_j: list[float]) -> None:
    """Add the ticks' sum of absolute motor powers to `energy_j[0]`."""
    robot = env.minitaur
    receive = robot.ReceiveObservation

    def received() -> None:
        receive()
        power = (
            robot._applied_motor_torque * robot._motor_direction * robot.GetTrueMotorVelocities()
        )
        energy_j[0] += robot.time_step * np.abs(power * robot._motor_enabled_list).sum()

    robot.ReceiveObservation = received


def run(
    tensors: dict[str, Any], name: str, seconds: float, imu_noise: float = 0.0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run one episode, going on after what the environment calls a fall.

    Returns:
        A dict of figures and a dict of arrays, one row per control step.
    """
    env = ENVIRONMENTS[name](**ARGUMENTS)
    # Of motor angle, speed and torque, attitude, turn rate; the observation's own draw, so a trace
    # with noise is not what the policy saw.
    env.minitaur._observation_noise_stdev = (0.0, 0.0, 0.0, imu_noise, imu_noise)
    observation = env.reset()
    robot, energy_j = env.minitaur, [0.0]
    watch_energy(env, energy_j)
    # Its transformation of an action is the last step before the motors: look there.
    transform, commands = env._transform_action_to_motor_command, []

    def transformed(action: Any) -> Any:
        commands.append(transform(action))
        return commands[-1]

    env._transform_action_to_motor_command = transformed
    rows: dict[str, list[Any]] = {
        "t_s": [],
        "rpy_rad": [],
        "world_rate_rad_s": [],
        "motor_rad": [],
        "x_m": [],
    }
    start_x = robot.GetBasePosition()[0]
    fell_s = None
    for _ in range(round(seconds / env.control_time_step)):
        rows["t_s"].append(robot.GetTimeSinceReset())
        rows["rpy_rad"].append(robot.GetBaseRollPitchYaw())
        rows["world_rate_rad_s"].append(robot.GetBaseRollPitchYawRate())
        rows["motor_rad"].append(robot.GetMotorAngles())
        rows["x_m"].append(robot.GetBasePosition()[0] - start_x)
        observation, _, done, _ = env.step(action_of(tensors, env, observation))
        if done and fell_s is None:
            fell_s = robot.GetTimeSinceReset()
    elapsed_s = robot.GetTimeSinceReset()
    figures = {
        "environment": name,
        "seconds": elapsed_s,
        "fell_s": fell_s,
        "speed_mps": (robot.GetBasePosition()[0] - start_x) / elapsed_s,
        "mean_power_w": energy_j[0] / elapsed_s,
        "motors_off": int(8 - sum(robot._motor_enabled_list)),
    }
    return figures, {**{k: np.array(v) for k, v in rows.items()}, "command_rad": np.array(commands)}


def main() -> None:
    """Parse the arguments, run, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", choices=sorted(ENVIRONMENTS), required=True)
    parser.add_argument("--tensors", required=True, help="archive of the checkpoint's variables")
    parser.add_argument("--trace", required=True, help="archive to write")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--imu-noise", type=float, default=0.0, help="deviation, rad and rad/s")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise")
    args = parser.parse_args()

    # PyBullet prints to the C stdout; send that to stderr so that stdout is the JSON line alone.
    stdout = os.dup(1)
    os.dup2(2, 1)
    np.random.seed(args.seed)  # noqa: NPY002  the generator that the environment draws from
    with np.load(args.tensors) as tensors:
        figures, trace = run(dict(tensors), args.environment, args.seconds, args.imu_noise)
    np.savez(args.trace, **trace)
    os.write(stdout, (json.dumps(figures) + "\n").encode())


if __name__ == "__main__":
    main()
