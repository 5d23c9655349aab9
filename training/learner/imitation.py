"""A first policy that moves: its mean is fitted to a gait before the first update.

A gallop has no reference to add its feedback to, and from standing still PPO spends a million steps
on finding any gait at all. ``training.search_gait`` finds an open-loop one in fewer. So the network
is taught that motion once, as a function of the gait's clock alone, and all the rest, what to do
about what it senses, is left to PPO. What is deployed is the network: no reference is left in it.

Imports no torch: the fit itself is ``PPO.imitate``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from deploy.policy.contract import Contract
from deploy.policy.gait import Gait, bound
from deploy.policy.pipeline import term_slices
from training.errors import ConfigError
from training.rollout.episode import Stream, seed_sequence

Array = NDArray[np.float32]

GAITS: dict[str, Callable[[], Gait]] = {"bound": bound}
# Episodes that show the gait: enough for the statistics of what the policy will see.
_EPISODES = 8
# The mean is a tanh: at more than this of the full action it would hardly learn any more.
_MOST = 0.95


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A gait as it was run and what a policy would have done for it.

    Attributes:
        observations: Raw, as they were seen, shape (N, O).
        situations: To be fitted on: the clocks of the observations, and beside each of them what
            was seen at some other time, so that no sense can stand for the clock, shape (N, O).
        actions: Shape (N, A).
    """

    observations: Array
    situations: Array
    actions: Array


def action_of(contract: Contract, gait: Gait, phase_rad: float) -> Array:
    """What a policy does for a gait at a phase of its clock, shape (A,), within [-0.95, 0.95].

    The contract's low pass weakens and delays what is asked for; in a steady gait, by as much as a
    first-order filter does a sine of the gait's frequency, which is made up for.
    """
    action, own = contract.action, contract.action.gait
    weaker, later_rad = 1.0, 0.0
    if action.lowpass_hz > 0.0:
        ratio = gait.frequency_hz / action.lowpass_hz
        weaker, later_rad = math.hypot(1.0, ratio), math.atan(ratio)
    steady = dataclasses.replace(gait, ramp_s=0.0)
    standing = dataclasses.replace(own, ramp_s=0.0)
    t_s = (phase_rad + later_rad) / (2.0 * math.pi * gait.frequency_hz)
    offset = steady.leg_targets(t_s) - standing.leg_targets(t_s)
    scaled = weaker * offset / np.array(action.scale_rad)
    done: Array = np.clip(scaled, -_MOST, _MOST).astype(np.float32)
    return done


def demonstrate(env: gymnasium.Env[Any, Any], name: str, seed: int) -> Demonstration:
    """Run a gait through the actions of an environment.

    Args:
        env: A locomotion environment whose contract has a clock.
        name: Of the gait, in ``GAITS``.
        seed: With the number of each episode the root of its randomness.

    Raises:
        ConfigError: There is no such gait, or the task has no clock of its frequency.
    """
    if name not in GAITS:
        raise ConfigError(f"unknown first_gait {name!r}; known: {', '.join(GAITS)}")
    gait, contract = GAITS[name](), getattr(env.unwrapped, "contract", None)
    if not isinstance(contract, Contract) or not (clock := _clock(contract)):
        raise ConfigError(f"first_gait {name!r}: the task has no gait_clock to tell it the phase")
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
    seen = np.stack(observations)
    rng = np.random.default_rng(seed_sequence(seed, Stream.DEMONSTRATION, _EPISODES))
    situations = seen[rng.permutation(len(seen))]
    for where in clock:
        situations[:, where] = seen[:, where]
    return Demonstration(seen, situations, np.stack(actions))


def _clock(contract: Contract) -> list[slice]:
    """Where the clock's sine and cosine stand in an observation."""
    slices = zip(contract.observation, term_slices(contract), strict=True)
    return [where for term, where in slices if term.name == "gait_clock"]
