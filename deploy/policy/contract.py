"""The contract of a policy: everything a runner must know to run it as it was trained.

It travels as JSON under one metadata key of the ONNX file, at full precision. Observation terms
stand in the order in which the network takes them; the normaliser is inside the graph, so none of
its numbers are here. A robot that differs from the one the policy was trained for is refused,
naming the field.

Every number has bounds, which stand beside its field. They are those of the robot where it has
any, and else far beyond what a walking robot of this size can use: a number out of its bounds is a
mistake, and with numbers within them the arithmetic of a run stays finite.
"""

from __future__ import annotations

import dataclasses
import json
import reprlib
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from deploy.errors import ContractError
from deploy.policy.gait import Gait, LegAngle
from deploy.policy.generator import NUM_MODULATORS, Modulation
from deploy.policy.velocity_command import VelocityCommandSpec
from robot_firmware_bridge import json_values
from robot_firmware_bridge.json_values import Length, Within
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS, RobotDescription

METADATA_KEY = "minitaur_policy_contract"
FORMAT = "minitaur-policy/3"
_Name = Annotated[str, Length(1, 64)]


@dataclass(frozen=True, slots=True)
class ObservationTerm:
    """One block of the observation vector: ``clip(raw * scale, -clip, clip)``.

    Attributes:
        name: A term that ``pipeline.TERMS`` knows.
        scale: Factor on the raw value.
        clip: Bound on the scaled value; None for no bound.
        history: How many values are stacked, newest first.
        every: Control steps from one of the stacked values to the one before.
    """

    name: _Name
    scale: Annotated[float, Within(-1e3, 1e3)] = 1.0
    clip: Annotated[float, Within(1e-6, 1e6)] | None = None
    history: Annotated[int, Within(1, 100)] = 1
    every: Annotated[int, Within(1, 100)] = 1


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """How a network output becomes motor angles.

    ``leg = gait(t) + scale_rad * lowpass(paired(clip(action, -1, 1)))``, bounded by the robot's leg
    limits, then turned from leg space to motor space. With a modulation, eleven more outputs change
    the gait.

    Attributes:
        scale_rad: Feedback in leg space at an action of 1, (swing x 4, extension x 4).
        lowpass_hz: Cut-off of a first-order low pass on the action; 0 for none.
        gait: Open-loop reference to which the feedback is added.
        asymmetry: ``paired`` keeps this much of the difference between a left leg and the right
            leg beside it: 1 leaves the legs free, 0 moves front legs alike and hind legs alike.
        modulation: What the network may change of the gait; None for nothing.
    """

    scale_rad: Annotated[tuple[LegAngle, ...], Length(NUM_MOTORS, NUM_MOTORS)]
    lowpass_hz: Annotated[float, Within(0.0, 1e3)]
    gait: Gait
    asymmetry: Annotated[float, Within(0.0, 1.0)] = 1.0
    modulation: Modulation | None = None

    @property
    def size(self) -> int:
        """How many outputs the network has."""
        return NUM_MOTORS + (0 if self.modulation is None else NUM_MODULATORS)


# The stock mainboard sends a state so often. Its bounds of steps from one command to the next are
# made for one command in this time.
STOCK_PERIOD_S = 0.010


@dataclass(frozen=True, slots=True)
class Contract:
    """What a policy takes, what it gives, and on which robot.

    Attributes:
        observation: Terms in network order.
        action: Meaning of the network's output.
        control_period_s: Period at which the loop is to run.
        kp: Proportional gain of the motor controller, duty per rad.
        kd: Derivative gain, duty per rad/s.
        motor_names: Order of the motors.
        robot_hash: ``RobotDescription.hash()`` of the robot trained for.
        provenance: Where the policy comes from: config, seed, steps, versions, figures.
        velocity_command: The velocity commands it was trained for; None if it takes none.
        board: Motor controller that it was trained for: core, which runs this stack's firmware, or
            stock, the Minitaur's own mainboard, which does not damp and answers every 10 ms.
        format: Version of this format.
    """

    observation: Annotated[tuple[ObservationTerm, ...], Length(1, 32)]
    action: ActionSpec
    # From the tick of the motor controller to half the life of a command.
    control_period_s: Annotated[float, Within(0.001, 0.1)] = 0.006
    kp: Annotated[float, Within(0.0, LIMITS.max_kp, "max_kp of the board")] = MINITAUR.kp
    kd: Annotated[float, Within(0.0, LIMITS.max_kd, "max_kd of the board")] = MINITAUR.kd
    motor_names: Annotated[tuple[_Name, ...], Length(NUM_MOTORS, NUM_MOTORS)] = MINITAUR.motor_names
    robot_hash: Annotated[str, Length(64, 64)] = field(default_factory=MINITAUR.hash)
    provenance: dict[str, Any] = field(default_factory=dict)
    velocity_command: VelocityCommandSpec | None = None
    board: Literal["core", "stock"] = "core"
    format: str = FORMAT

    def to_json(self) -> str:
        """Return the contract as JSON text, every field written, floats in shortest exact form."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Contract:
        """Read and check a contract.

        Raises:
            ContractError: Not JSON, another format, a missing, unknown or ill-typed field, or a
                number out of its bounds.
        """
        try:
            data = json_values.parse(text, "contract")
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            if found != FORMAT:
                raise json_values.JsonValueError(
                    f"contract format is {reprlib.repr(found)}, this stack reads {FORMAT!r}: "
                    "export the policy again with this version (make export)"
                )
            contract: Contract = json_values.decode(Contract, data, "contract")
        except json_values.JsonValueError as error:
            raise ContractError(f"the policy's {error}") from error
        action, spec = contract.action, contract.velocity_command
        if action.modulation is not None and (problem := action.modulation.problem(action.gait)):
            raise ContractError(f"contract.action.modulation.{problem}")
        if spec is not None and (problem := spec.problem()):
            raise ContractError(f"contract.velocity_command.{problem}")
        if contract.board == "stock" and contract.control_period_s != STOCK_PERIOD_S:
            raise ContractError(
                f"contract.control_period_s must be {STOCK_PERIOD_S} for contract.board stock, is "
                f"{contract.control_period_s}"
            )
        if action.gait.steering is not None and spec is None:
            raise ContractError(
                "contract.action.gait.steering needs contract.velocity_command, which is null"
            )
        return contract

    def check_beside(self, first: Contract) -> None:
        """Refuse to be of one run with another policy that differs in what a run has once.

        Raises:
            ContractError: Names the first field that differs, with both values.
        """
        for name in ("board", "control_period_s", "kp", "kd"):
            value, expected = getattr(self, name), getattr(first, name)
            if value != expected:
                raise ContractError(
                    f"contract.{name} is {value}, that of the run's first policy {expected}: the "
                    "policies of a run share board, control period and gains"
                )

    def check_robot(self, robot: RobotDescription) -> None:
        """Refuse a robot that the policy was not trained for.

        Raises:
            ContractError: Names the first field that differs, with both values.
        """
        if tuple(self.motor_names) != robot.motor_names:
            raise ContractError(
                f"motor_names differ: policy {list(self.motor_names)}, "
                f"robot {list(robot.motor_names)}"
            )
        if self.robot_hash != robot.hash():
            raise ContractError(
                f"robot_hash differs: policy {self.robot_hash[:12]!a}, robot {robot.name} "
                f"{robot.hash()[:12]}; train or export the policy for this robot description"
            )
