"""A first policy that moves: its mean is fitted to a gait before the first update.

A gallop has no reference to which feedback could be added, and from standing still PPO spends a
million steps on finding any gait at all. ``training.search_gait`` finds an open-loop gait in fewer.
So the network is fitted to that motion once, as a function of the gait's clock alone; how to react
to the other observations is left to PPO. What is deployed is the network, without a reference.

Imports no torch: the fit itself is ``PPO.imitate``.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from deploy.policy.contract import Contract
from deploy.policy.gait import Gait
from deploy.policy.pipeline import term_slices
from training.errors import ConfigError
from training.rollout.episode import Stream, seed_sequence
from training.tasks import gaits

Array = NDArray[np.float32]

GAITS = {gait.name: gait for gait in (gaits.BOUND,)}
# Enough for the statistics of what the policy will observe.
_EPISODES = 8
# The mean is a tanh: at more than this of the full action it would hardly learn any more.
_MOST = 0.95


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A gait as it was run, and the actions of a policy that runs it.

    Attributes:
        observations: Raw, in order of time, shape (N, O).
        situations: Observations to fit on, shape (N, O). The clock is that of the observation; all
            else is from some other time, so that no other term can stand in for the clock.
        actions: Shape (N, A).
    """

    observations: Array
    situations: Array
    actions: Array


def action_of(contract: Contract, gait: Gait, phase_rad: float) -> Array:
    """Return the action that runs a gait at a phase of its clock, shape (A,), in [-0.95, 0.95].

    The contract's low pass weakens and delays an action. In a steady gait it does so as a
    first-order filter does to a sine of the gait's frequency, and the action makes up for that.
    """
    spec, own = contract.action, contract.action.gait
    weaker, later_rad = 1.0, 0.0
    if spec.lowpass_hz > 0.0:
        ratio = gait.frequency_hz / spec.lowpass_hz
        weaker, later_rad = math.hypot(1.0, ratio), math.atan(ratio)
    steady = dataclasses.replace(gait, ramp_s=0.0)
    standing = dataclasses.replace(own, ramp_s=0.0)
    t_s = (phase_rad + later_rad) / (2.0 * math.pi * gait.frequency_hz)
    offset = steady.leg_targets(t_s) - standing.leg_targets(t_s)
    scaled = weaker * offset / np.array(spec.scale_rad)
    action: Array = np.clip(scaled, -_MOST, _MOST).astype(np.float32)
    return action


def demonstrate(env: gymnasium.Env[Any, Any], name: str, seed: int) -> Demonstration:
    """Run a gait of ``GAITS`` through the actions of an environment whose contract has a clock.

    Raises:
        ConfigError: There is no such gait, or the task has no clock of its frequency.
    """
    if name not in GAITS:
        raise ConfigError(f"unknown first_gait {name!r}; known: {', '.join(GAITS)}")
    gait, contract = GAITS[name], getattr(env.unwrapped, "contract", None)
    clock: list[slice] = []  # where sine and cosine of the clock are in an observation
    if isinstance(contract, Contract):
        slices = zip(contract.observation, term_slices(contract), strict=True)
        clock = [where for term, where in slices if term.name == "gait_clock"]
    if not isinstance(contract, Contract) or not clock:
        raise ConfigError(f"first_gait {name!r}: the task has no gait_clock, and so no phase")
    if contract.action.gait.frequency_hz != gait.frequency_hz:
        raise ConfigError(
            f"first_gait {name!r} has {gait.frequency_hz} Hz, the task's clock "
            f"{contract.action.gait.frequency_hz} Hz"
        )
    observations, actions = [], []
    for index in range(_EPISODES):
        seeds = seed_sequence(seed, Stream.DEMONSTRATION, index)
        observation, _ = env.reset(seed=int(seeds.generate_state(1)[0]))
        over = False
        while not over:
            sine, cosine = observation[clock[0]]
            action = action_of(contract, gait, math.atan2(sine, cosine) % (2.0 * math.pi))
            observations.append(np.array(observation, dtype=np.float32))
            actions.append(action)
            observation, _, fell, timed_out, _ = env.step(action)
            over = fell or timed_out
    raw = np.stack(observations)
    rng = np.random.default_rng(seed_sequence(seed, Stream.DEMONSTRATION, _EPISODES))
    situations = raw[rng.permutation(len(raw))]
    for where in clock:
        situations[:, where] = raw[:, where]
    return Demonstration(raw, situations, np.stack(actions))
