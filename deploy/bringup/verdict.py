"""What a nudge says of a motor's two plugs: of its drive, by eyes, and of its encoder.

The board drives an output in the direction of a smaller angle, which lifts that motor's knee. A
person sees which motor really moved, and which way. The encoders say which input read that motion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploy.bringup.nudge import Nudge
from deploy.bringup.robot_file import NOT_TRIED, OK
from robot_firmware_bridge.robot import MINITAUR

NAMES = MINITAUR.motor_names


@dataclass(frozen=True, slots=True)
class Sight:
    """What a person saw.

    Attributes:
        motor: The motor that moved; None for none.
        up: Whether its knee went up.
    """

    motor: int | None
    up: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one output of the board, and of the input of the same number.

    Attributes:
        motor: Their number.
        faults: What is wrong, one phrase each; none if all is right.
    """

    motor: int
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all is right."""
        return not self.faults

    def line(self) -> str:
        """Return the verdict as one line."""
        return f"{NAMES[self.motor]}: {', '.join(self.faults) or OK}"


def lines(verdicts: Mapping[int, Verdict]) -> tuple[str, ...]:
    """Return one line for each motor, of the verdicts by its number."""
    return tuple(
        verdicts[motor].line() if motor in verdicts else f"{name}: {NOT_TRIED}"
        for motor, name in enumerate(NAMES)
    )


def judge(nudge: Nudge, sight: Sight | None) -> Verdict:
    """Return the verdict on a nudged motor; ``sight`` is None where nobody watched."""
    if sight is None:
        return Verdict(nudge.motor, _by_encoders(nudge))
    return Verdict(nudge.motor, _by_both(nudge, sight))


def _by_encoders(nudge: Nudge) -> tuple[str, ...]:
    encoder = nudge.encoder
    if encoder is None:
        return ("no encoder moved: the motor has no power, is jammed, or its encoder is unplugged",)
    faults = []
    if encoder != nudge.motor:
        faults.append(f"swapped with {NAMES[encoder]} (drive or encoder)")
    if nudge.moved_rad[encoder] > 0.0:
        faults.append("sign flipped (of drive or encoder)")
    return (*faults, *_others(nudge))


def _by_both(nudge: Nudge, sight: Sight) -> tuple[str, ...]:
    encoder = nudge.encoder
    if sight.motor is None and encoder is None:
        return ("did not move: no power, unplugged or jammed",)
    if sight.motor is None:
        return (f"nobody saw a motion that the encoder of {NAMES[encoder or 0]} read: look again",)
    plugs = _plugs(nudge.motor, sight.motor, encoder)
    return (*plugs, *_signs(nudge, sight), *_others(nudge))


def _plugs(motor: int, moved: int, encoder: int | None) -> tuple[str, ...]:
    """Return which plugs are in wrong places, given which motor moved and which encoder did."""
    if encoder == motor != moved:
        return (f"swapped with {NAMES[moved]}",)
    faults = [] if moved == motor else [f"drive swapped with {NAMES[moved]}"]
    if encoder is None:
        faults.append(f"moved, but the encoder of {NAMES[moved]} saw nothing")
    elif encoder != moved:
        faults.append(f"encoder of {NAMES[moved]} swapped with {NAMES[encoder]}")
    return tuple(faults)


def _signs(nudge: Nudge, sight: Sight) -> tuple[str, ...]:
    if nudge.encoder is None:
        return () if sight.up else ("drive sign flipped",)
    read_up = bool(nudge.moved_rad[nudge.encoder] < 0.0)
    if not sight.up:
        return ("sign flipped of drive and encoder",) if read_up else ("drive sign flipped",)
    return () if read_up else ("encoder sign flipped",)


def _others(nudge: Nudge) -> tuple[str, ...]:
    if not nudge.others:
        return ()
    return (f"moved too: {', '.join(NAMES[other] for other in nudge.others)}",)
