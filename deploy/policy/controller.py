"""One object steps a policy: observe, infer, targets, limit, with every check of numbers inside.

The control loop, the training environment, the evaluation and the benchmarks all step a
:class:`Controller`. A policy is therefore trained through the arithmetic that moves the robot.

Every bound between a request and a motor, in the order in which they act:

| bounded | where | why |
|---|---|---|
| requested velocity: range, slew | ``VelocityCommandSpec.follow`` | more was not trained |
| observation term: ``clip`` | ``Pipeline.observe`` | an outlier of a sensor is no news |
| action: [-1, 1] | ``Pipeline.targets`` | ``scale_rad`` is the feedback's bound at 1 |
| gait: ``modulation`` and its low pass | ``Generator.modulate`` | no other gaits were trained |
| left against right: ``asymmetry`` | ``Pipeline.targets`` | a gait that moves legs in pairs |
| action: ``lowpass_hz`` | ``Pipeline.targets`` | drives cannot follow faster changes |
| legs: swing and extension limits | ``Pipeline.targets`` | the five-bar must not stretch or fold |
| motor target: range of the motor | ``Controller.limit`` | what the links can reach |
| motor target: step since the last one sent | ``Controller.limit`` | no jump, ever |
| gains, duty, current, temperature | the firmware | whatever the host asks for |
| torque | the drive | battery, back-EMF, saturation |

Imports numpy and the bridge only; the network of a policy file comes from
``deploy.policy.onnx_policy``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deploy.errors import SafetyStop
from deploy.policy.contract import Contract
from deploy.policy.pipeline import Pipeline
from robot_firmware_bridge.messages import RobotState
from robot_firmware_bridge.robot import MINITAUR, RobotDescription

Array = NDArray[np.float64]


class Network(Protocol):
    """Observation (O,) to action (A,), both float32."""

    def __call__(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the action; the array may be a buffer that the next call overwrites."""


@dataclass(slots=True)
class Saturations:
    """Count the ticks in which something was saturated, by kind."""

    action_clipped: int = 0
    target_clipped: int = 0
    rate_limited: int = 0


class Controller(Pipeline):
    """A contract and its network at work: robot state in, motor targets out.

    One tick is ``observe``, ``infer``, ``targets`` and ``limit``, with the same time ``t_s``: the
    seconds since the policy took over. A learner puts its own action in the place of ``infer``.

    Args:
        contract: What the network sees and what its output means.
        network: The network; None where somebody else acts.
        robot: Description of the robot.
        period_s: Control period; the contract's if None.

    Attributes:
        saturations: Ticks in which something was saturated since the last ``reset``.
        last_target_rad: Motor target that was really sent last, shape (8,). ``limit`` notes its own
            result here; whoever knows better, because the robot bounds it further, sets it.

    Raises:
        ContractError: The contract does not fit the robot, or names an unknown term.
    """

    def __init__(
        self,
        contract: Contract,
        network: Network | None = None,
        robot: RobotDescription = MINITAUR,
        period_s: float | None = None,
    ) -> None:
        super().__init__(contract, robot)
        self._network = network
        self._low_rad, self._high_rad = robot.motor_limits_rad
        self.reset(contract.control_period_s if period_s is None else period_s)

    def reset(self, period_s: float | None = None) -> None:
        """Forget the run before, and start from the stance.

        Args:
            period_s: Control period of the run to come; as before if None.
        """
        super().reset()
        self.saturations = Saturations()
        if period_s is not None:
            self._max_step_rad = self.robot.target_rate_limit_rad_s * period_s

    def take_over(self, before: Controller) -> None:
        """Begin from what another controller, or this one, sent last, and go on with its counts."""
        sent_rad, counted = before.last_target_rad, before.saturations
        self.reset()
        self.last_target_rad, self.saturations = sent_rad, counted

    def observe(self, state: RobotState, t_s: float) -> NDArray[np.float32]:
        """Return the network's input, shape (O,): a buffer that the next call overwrites.

        Raises:
            SafetyStop: non_finite_observation.
        """
        check_finite("observation", state.rpy_rad, "the attitude")
        observation = super().observe(state, t_s)
        check_finite("observation", observation)
        return observation

    def infer(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's output for an observation, shape (A,): a buffer.

        Raises:
            PolicyError: onnxruntime failed.
        """
        if self._network is None:
            raise TypeError("this controller was made without a network")
        return self._network(observation)

    def targets(self, action: NDArray[np.floating], t_s: float) -> Array:
        """Return the motor targets that an action of shape (A,) asks for, shape (8,), rad.

        Raises:
            SafetyStop: non_finite_action.
        """
        check_finite("action", action)
        self.saturations.action_clipped += bool(np.abs(action).max() > 1.0)
        return super().targets(action, t_s)

    def limit(self, target_rad: Array) -> Array:
        """Return a target of shape (8,), rad, within the motors' range and rate.

        A missed tick earns no larger step: the rate holds for each tick that was run.

        Raises:
            SafetyStop: non_finite_target.
        """
        check_finite("target", target_rad)
        within = np.minimum(np.maximum(target_rad, self._low_rad), self._high_rad)
        self.saturations.target_clipped += bool((within != target_rad).any())
        step = within - self.last_target_rad
        if np.abs(step).max() > self._max_step_rad:
            self.saturations.rate_limited += 1
            bounded = np.minimum(np.maximum(step, -self._max_step_rad), self._max_step_rad)
            within = self.last_target_rad + bounded
        self.last_target_rad = within
        return within


def check_finite(what: str, values: NDArray[np.floating], name: str = "") -> None:
    """Stop on a value that is NaN or infinite.

    Raises:
        SafetyStop: non_finite_``what``, with the first such value, and the ``name`` of the array.
    """
    finite = np.isfinite(values)
    if not finite.all():
        first = int(np.argmin(finite))
        which = f" of {name}" if name else ""
        raise SafetyStop(
            f"non_finite_{what}", f"value {first} of {len(values)}{which} is {values[first]}"
        )
