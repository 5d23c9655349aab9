"""A first policy that moves: its mean is fitted to a gait, or to a habit, before the first update.

A gallop has no reference to which feedback could be added, and from standing still PPO spends a
million steps on finding any gait at all. ``training.search_gait`` finds an open-loop gait in fewer.
So the network is fitted to that motion once, as a function of the gait's clock alone. `rough` is
fitted to stepping higher where its legs stay behind, as a function of that lag alone. How to react
to all else is left to PPO. It may be charged for leaving the habit, too (``PPOConfig.habit_coef``):
PPO soon unlearns what pays only after many steps. What is deployed is the network.

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
from deploy.policy.gait import Gait
from deploy.policy.generator import NUM_MODULATORS
from deploy.policy.pipeline import term_slices
from robot_firmware_bridge.robot import NUM_LEGS, NUM_MOTORS
from training.errors import ConfigError
from training.rollout.episode import Stream, seed_sequence
from training.tasks import gaits
from training.tasks.gaits import HighStep

Array = NDArray[np.float32]

# The observation term of which each is a function, how many episodes show it (enough for the
# statistics of what the policy will observe, on each kind of ground), and the rate of the fit.
GAITS: dict[str, tuple[Gait | HighStep, str, int, float]] = {
    gaits.BOUND.name: (gaits.BOUND, "gait_clock", 8, 3e-3),
    gaits.HIGH_STEP.name: (gaits.HIGH_STEP, "leg_lag", 32, 5e-4),
}
# The mean is a tanh: at more than this of the full action it would hardly learn any more.
_MOST = 0.95


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A gait as it was run, and the actions of a policy that runs it.

    Attributes:
        observations: Raw, in order of time, shape (N, O).
        situations: Observations to fit on, shape (N, O). The term of which the action is a function
            is that of the observation; all else is from some other time, so that no other term can
            stand in for it.
        actions: Shape (N, A).
        learning_rate: Of the fit. A slow one changes the network little, so that it stays open to
            what the demonstration did not need.
    """

    observations: Array
    situations: Array
    actions: Array
    learning_rate: float


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


def stepping_action(contract: Contract, habit: HighStep, excess_lag_s: float) -> Array:
    """Return the action of a habit that moves the generator, shape (A,), in [-0.95, 0.95]."""
    spec = contract.action.modulation
    if spec is None:
        raise ConfigError(f"first_gait {habit.name!r}: the task has no action.modulation")
    modulators = np.zeros(NUM_MODULATORS)
    modulators[1] = habit.extension_amplitude_rad / spec.extension_amplitude_rad
    modulators[2] = habit.extension_centre_rad / spec.extension_centre_rad
    modulators[3 : 3 + NUM_LEGS] = habit.swing_amplitude_rad / spec.swing_amplitude_rad
    done = np.clip(habit.share(excess_lag_s) * modulators, -_MOST, _MOST)
    return np.concatenate((np.zeros(NUM_MOTORS), done)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Model:
    """A gait or a habit as actions of a task's policy.

    Attributes:
        where: Place in an observation of the term of which the actions are a function.
        moves: 1 for each output that it moves, 0 for the others, shape (A,).
        action: Its action, shape (A,), for the values there, shape (2,).
    """

    where: slice
    moves: Array
    action: Callable[[Array], Array]

    def actions(self, observations: Array) -> Array:
        """Return the actions for raw observations (N, O), shape (N, A)."""
        return np.stack([self.action(row) for row in observations[:, self.where]])


def model_of(contract: Contract | None, name: str) -> Model:
    """Return one of ``GAITS`` as the actions of a policy with this contract.

    Args:
        contract: Of the task; None for a task that has none.
        name: Of the gait.

    Raises:
        ConfigError: There is no such gait, or the task lacks the term, the frequency of its clock,
            or the modulation.
    """
    if name not in GAITS:
        raise ConfigError(f"unknown first_gait {name!r}; known: {', '.join(GAITS)}")
    gait, term, *_ = GAITS[name]
    seen: list[slice] = []  # where the term is in an observation
    if contract is not None:
        slices = zip(contract.observation, term_slices(contract), strict=True)
        seen = [where for each, where in slices if each.name == term]
    if contract is None or not seen:
        raise ConfigError(f"first_gait {name!r}: the task has no {term}")
    if isinstance(gait, HighStep):
        habit, full = gait, stepping_action(contract, gait, math.inf)
        return Model(
            where=seen[0],
            moves=(full != 0.0).astype(np.float32),
            action=lambda lag: stepping_action(contract, habit, float(lag[1])),
        )
    if contract.action.gait.frequency_hz != gait.frequency_hz:
        raise ConfigError(
            f"first_gait {name!r} has {gait.frequency_hz} Hz, the task's clock "
            f"{contract.action.gait.frequency_hz} Hz"
        )

    def at(clock: Array) -> Array:
        sine, cosine = clock.tolist()
        return action_of(contract, gait, math.atan2(sine, cosine) % (2.0 * math.pi))

    return Model(seen[0], np.ones(contract.action.size, dtype=np.float32), at)


def demonstrate(env: gymnasium.Env[Any, Any], name: str, seed: int) -> Demonstration:
    """Run one of ``GAITS`` through the actions of an environment that has the term it needs.

    Raises:
        ConfigError: As for :func:`model_of`.
    """
    contract = getattr(env.unwrapped, "contract", None)
    model = model_of(contract if isinstance(contract, Contract) else None, name)
    _, _, episodes, rate = GAITS[name]
    observations, actions = [], []
    for index in range(episodes):
        seeds = seed_sequence(seed, Stream.DEMONSTRATION, index)
        observation, _ = env.reset(seed=int(seeds.generate_state(1)[0]))
        over = False
        while not over:
            action = model.action(observation[model.where])
            observations.append(np.array(observation, dtype=np.float32))
            actions.append(action)
            observation, _, fell, timed_out, _ = env.step(action)
            over = fell or timed_out
    raw = np.stack(observations)
    rng = np.random.default_rng(seed_sequence(seed, Stream.DEMONSTRATION, episodes))
    situations = raw[rng.permutation(len(raw))]
    situations[:, model.where] = raw[:, model.where]
    return Demonstration(raw, situations, np.stack(actions), rate)
