"""Bring a policy of stable-baselines3 to the robot: train, export, run.

    .venv/bin/python docs/examples/sb3_policy.py
    make run POLICY=build/sb3.onnx

The environment is a task of this stack, so the policy is trained through the controller that runs
on the robot. ``VecNormalize`` scales the observations during training; the exported file must carry
its statistics. A policy without them walks nowhere.
"""

import argparse
from pathlib import Path

import gymnasium
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import training.tasks  # noqa: F401  registers the tasks
from deploy.policy.onnx_policy import OnnxPolicy
from training.export import write_policy
from training.rollout.policy import Normaliser

TASK = "MinitaurStack/Trot-v0"


def export(model: PPO, normalised: VecNormalize, out: Path) -> None:
    """Write the deterministic policy of a model, with its normaliser, to a policy file."""
    # The mean of an MlpPolicy: the hidden layers with tanh between them, then a linear layer. It
    # has no tanh at its end (squash=False): stable-baselines3 clips the action, and so does the
    # controller of this stack.
    linear = [layer for layer in model.policy.mlp_extractor.policy_net if hasattr(layer, "weight")]
    linear.append(model.policy.action_net)
    weights = [(x.weight.detach().numpy(), x.bias.detach().numpy()) for x in linear]
    statistics = normalised.obs_rms
    normaliser = Normaliser(
        mean=statistics.mean.astype(np.float32),
        std=np.sqrt(statistics.var + normalised.epsilon).astype(np.float32),
        clip=normalised.clip_obs,
    )
    env = gymnasium.make(TASK)
    contract = env.unwrapped.contract
    env.close()
    write_policy(weights, normaliser, contract, out, activation="tanh", squash=False)


def largest_difference(model: PPO, normalised: VecNormalize, out: Path) -> float:
    """Compare the file with the model on random observations."""
    policy, rng = OnnxPolicy.load(out), np.random.default_rng(0)
    mean, std = normalised.obs_rms.mean, np.sqrt(normalised.obs_rms.var)
    raw = (mean + 2.0 * std * rng.standard_normal((200, len(mean)))).astype(np.float32)
    theirs, _ = model.predict(normalised.normalize_obs(raw), deterministic=True)
    ours = np.clip([policy(row).copy() for row in raw], -1.0, 1.0)
    return float(np.abs(ours - theirs).max())


def main() -> None:
    """Train for some minutes, export, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--out", type=Path, default=Path("build/sb3.onnx"))
    arguments = parser.parse_args()
    envs = make_vec_env(TASK, n_envs=1, env_kwargs={"randomization": "table1"}, seed=0)
    normalised = VecNormalize(envs, gamma=0.99)
    model = PPO("MlpPolicy", normalised, n_steps=512, batch_size=128, seed=0, device="cpu")
    # As in this stack: the first policy is the reference gait, and explores little.
    model.policy.action_net.weight.data *= 0.01
    model.policy.log_std.data.fill_(-1.2)
    model.learn(arguments.steps)
    export(model, normalised, arguments.out)
    difference = largest_difference(model, normalised, arguments.out)
    print(f"wrote {arguments.out}; it equals the trained model within {difference:.1e}")
    print(f"next: make run POLICY={arguments.out}")


if __name__ == "__main__":
    main()
