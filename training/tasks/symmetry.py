"""Mirror images, left for right, of observations and actions.

The Minitaur is its own mirror image, and so is every gait whose mirror image is itself, at once (a
bound) or half a cycle later (a trot). The best policy of such a robot is its own mirror image too,
so a network that cannot be anything else has half as much to learn. Imports numpy and the deploy
floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.policy.contract import Contract
from deploy.policy.gait import Gait
from deploy.policy.generator import NUM_MODULATORS
from training.errors import ConfigError

# Legs are front left, back left, front right, back right.
_LEGS = (2, 3, 0, 1)
# The L motor of a left leg corresponds to the R motor of a right leg: see bridge geometry.
_MOTORS = (5, 4, 7, 6, 1, 0, 3, 2)
_LEG_SPACE = (*_LEGS, *(4 + leg for leg in _LEGS))
# Three of the whole gait, then two of each leg.
_MODULATORS = (0, 1, 2, *(3 + leg for leg in _LEGS), *(7 + leg for leg in _LEGS))

# Where each component of an observation term comes from in the mirror, and with which sign.
_TERMS: dict[str, tuple[Sequence[int], Sequence[float]]] = {
    "roll_pitch": ((0, 1), (-1.0, 1.0)),
    "roll_pitch_rate": ((0, 1), (-1.0, 1.0)),
    "yaw_rate": ((0,), (-1.0,)),
    "recent_turn": ((0,), (-1.0,)),
    "unrest": ((0,), (1.0,)),
    "heading_error": ((0,), (-1.0,)),
    "world_roll_pitch_rate": ((0, 1), (-1.0, 1.0)),
    "motor_offset": (_MOTORS, (1.0,) * 8),
    "motor_position": (_MOTORS, (1.0,) * 8),
    "motor_velocity": (_MOTORS, (1.0,) * 8),
    "motor_torque": (_MOTORS, (1.0,) * 8),
    # Roll and yaw change sign, pitch does not: so do the x, z and y components.
    "orientation": ((0, 1, 2, 3), (-1.0, 1.0, -1.0, 1.0)),
    "last_action": (_LEG_SPACE, (1.0,) * 8),
    "modulators": (_MODULATORS, (1.0,) * NUM_MODULATORS),
    "velocity_command": ((0, 1), (1.0, -1.0)),
}


@dataclass(frozen=True, slots=True)
class Reflection:
    """A signed permutation: ``out[i] = sign[i] * in[source[i]]``.

    Attributes:
        source: Shape (N,), indices.
        sign: Shape (N,), +1 or -1.
    """

    source: NDArray[np.intp]
    sign: NDArray[np.float32]

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return mirrored rows, shape (..., N)."""
        mirrored: NDArray[np.float32] = rows[..., self.source] * self.sign
        return mirrored


@dataclass(frozen=True, slots=True)
class Mirror:
    """Reflections of a policy's observation and action."""

    observation: Reflection
    action: Reflection

    def state(self) -> dict[str, list[float]]:
        """Return plain values for a checkpoint."""
        return {
            "observation_source": self.observation.source.tolist(),
            "observation_sign": self.observation.sign.tolist(),
            "action_source": self.action.source.tolist(),
            "action_sign": self.action.sign.tolist(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Sequence[Any]]) -> Mirror:
        """Read what ``state`` returned."""
        return cls(
            _reflection(state["observation_source"], state["observation_sign"]),
            _reflection(state["action_source"], state["action_sign"]),
        )


def mirror_of(contract: Contract) -> Mirror:
    """Return the reflections of a contract's observation and action.

    Raises:
        ConfigError: The gait is not its own mirror image, or a term has none.
    """
    clock_sign = _clock_sign(contract.action.gait)
    known = {**_TERMS, "gait_clock": ((0, 1), (clock_sign, clock_sign))}
    source: list[int] = []
    sign: list[float] = []
    for term in contract.observation:
        if term.name not in known:
            raise ConfigError(f"observation term {term.name!r} has no mirror image")
        sources, signs = known[term.name]
        for _ in range(term.history):
            at = len(source)
            source += [at + i for i in sources]
            sign += signs
    outputs = _LEG_SPACE
    if contract.action.modulation is not None:
        outputs += tuple(len(_LEG_SPACE) + i for i in _MODULATORS)
    return Mirror(_reflection(source, sign), _reflection(outputs, (1.0,) * len(outputs)))


def _reflection(source: Sequence[int], sign: Sequence[float]) -> Reflection:
    return Reflection(np.array(source, dtype=np.intp), np.array(sign, dtype=np.float32))


def _clock_sign(gait: Gait) -> float:
    """Return +1 if the gait is its own mirror image at once, -1 if half a cycle later."""
    _check_steering(gait)
    phase = np.array(gait.leg_phase)
    shift = (phase[list(_LEGS)] - phase + 0.25) % 1.0 - 0.25
    for sign, ahead in ((1.0, 0.0), (-1.0, 0.5)):
        if np.allclose(shift, ahead, atol=1e-9):
            return sign
    raise ConfigError(f"gait {gait.name!r} is not its own mirror image: leg phases {phase}")


def _check_steering(gait: Gait) -> None:
    """Refuse steering whose left swings are not the right ones, with the other sign for a turn."""
    if gait.steering is None:
        return
    speed, turn = gait.steering.per_speed_rad, gait.steering.per_yaw_rate_rad
    for name, values, sign in (("per_speed_rad", speed, 1.0), ("per_yaw_rate_rad", turn, -1.0)):
        if not np.allclose(np.array(values)[list(_LEGS)], sign * np.array(values), atol=1e-9):
            raise ConfigError(f"gait {gait.name!r} is not its own mirror image: {name} {values}")
