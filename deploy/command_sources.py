"""What ``--command`` names: a constant, a script, or what a person steers with.

Constants and scripts are here; ``deploy.keyboard`` and ``deploy.gamepad`` are for people, and
``deploy.steering`` says what all of them have in common.
"""

from __future__ import annotations

import bisect
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import RunError
from deploy.gamepad import Gamepad, find_gamepad
from deploy.keyboard import Keyboard
from deploy.policy.velocity_command import STOP, Velocity, VelocityCommandSpec, range_in_words
from deploy.steering import UNATTENDED, Choosable, CommandSource, Steering
from robot_firmware_bridge.number_table import NumberError, number, read_table

# The greatest speed of a policy, straight on.
AHEAD = "ahead"
COLUMNS = ("t_s", "speed_mps", "yaw_rate_rad_s")


@dataclass(frozen=True, slots=True)
class Script:
    """Requested velocities written beforehand; each holds until the next one begins.

    Attributes:
        times_s: When each request begins, rising, shape (N,).
        velocities: The requested velocities, shape (N, 2); zero before the first one.
    """

    times_s: tuple[float, ...]
    velocities: tuple[Velocity, ...]

    @property
    def instructions(self) -> str | None:
        """None: nobody steers."""
        return None

    def poll(self) -> Steering:
        """Return that nobody asks for anything."""
        return UNATTENDED

    def requested(self, t_s: float) -> Velocity:
        """Return the last request that has begun."""
        row = bisect.bisect_right(self.times_s, t_s) - 1
        return self.velocities[row] if row >= 0 else STOP

    def listen(self) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return nullcontext()

    def check(self, spec: VelocityCommandSpec, name: str) -> None:
        """Refuse requests that the policy was not trained for.

        Raises:
            RunError: Names the first such request and the ranges.
        """
        for t_s, velocity in zip(self.times_s, self.velocities, strict=True):
            if spec.clip(*velocity) != velocity:
                raise RunError(
                    f"{name}: {velocity[0]:g} m/s and {velocity[1]:g} rad/s at {t_s:g} s is out "
                    f"of the policy's ranges, {range_in_words(spec.speed_mps)} m/s and "
                    f"{range_in_words(spec.yaw_rate_rad_s)} rad/s"
                )


def constant(speed_mps: float, yaw_rate_rad_s: float) -> Script:
    """Return a script of one request that holds for ever."""
    return Script((0.0,), ((speed_mps, yaw_rate_rad_s),))


def read_script(path: Path) -> Script:
    """Read a script: a table with the columns ``t_s,speed_mps,yaw_rate_rad_s``.

    ``robot_firmware_bridge.number_table`` says what else such a file may have in it.

    Raises:
        RunError: The file cannot be read, or says which line is wrong.
    """
    try:
        rows = read_table(path, COLUMNS)
    except NumberError as error:
        raise RunError(f"command script: {error}") from error
    before_s = -1.0
    for row in rows:
        t_s = row.values[0]
        if t_s < 0.0 or t_s <= before_s:
            raise RunError(
                f"command script: {path}, line {row.line}: times must rise from 0, got {t_s:g}"
            )
        before_s = t_s
    return Script(
        tuple(row.values[0] for row in rows),
        tuple((row.values[1], row.values[2]) for row in rows),
    )


def open_command(text: str | None, policies: Sequence[Choosable]) -> CommandSource | None:
    """Open the source that ``--command`` names; None for a policy that takes no velocity command.

    It is ``keyboard``, ``gamepad`` or ``gamepad:PATH``, ``ahead`` (the greatest speed, straight
    on), ``SPEED,YAW_RATE``, or the path of a script; None requests zero.

    Raises:
        RunError: The policy takes none, the source is not there or requests too much, or nobody
            could choose among several policies.
    """
    spec = policies[0].spec
    if len(policies) == 1 and spec is None:
        if text not in (None, AHEAD):  # ahead is all that it can go
            raise RunError("this policy takes no command: leave --command out")
        return None
    if text == "keyboard":
        return Keyboard(policies, sys.stdin)
    if text == "gamepad":
        return Gamepad(policies, find_gamepad())
    if text is not None and text.startswith("gamepad:"):
        return Gamepad(policies, Path(text.removeprefix("gamepad:")))
    if len(policies) > 1 or spec is None:
        raise RunError("--also needs somebody who chooses: --command keyboard or gamepad")
    if text is None:
        return constant(*STOP)
    return script_of(text, spec, "--command", ", nor keyboard, nor gamepad")


def script_of(text: str, spec: VelocityCommandSpec, option: str, others: str = "") -> Script:
    """Return the script that an option gives: ``ahead``, two numbers, or the path of a file.

    Args:
        text: Value of the option.
        spec: The velocity commands that the policy was trained for.
        option: Name of the option, for errors.
        others: What else it can be, for errors.

    Raises:
        RunError: It is none of these, the file is malformed, or it requests too much.
    """
    if text == AHEAD:
        return constant(spec.speed_mps[1], 0.0)
    script = _written(text, option, others)
    script.check(spec, f"{option} {text}")
    return script


def _written(text: str, option: str, others: str) -> Script:
    cells = text.split(";") if ";" in text else text.split(",")
    if len(cells) == 2:
        with suppress(NumberError):  # a path may have a comma in it
            return constant(number(cells[0]), number(cells[1]))
    if not os.path.exists(text):
        raise RunError(
            f"{option} {text}: it is neither two numbers, SPEED,YAW_RATE in m/s and rad/s, nor "
            f"the path of a script that is there, nor {AHEAD}{others}"
        )
    return read_script(Path(text))
