"""The command ``minitaur``: one name for every command of this stack.

It imports a command's module only when that command is asked for: a robot computer has no torch and
no simulator. It has no options of its own: `minitaur COMMAND --help` is the command's own help.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence

from robot_firmware_bridge.command_line import EXIT_OK, command
from robot_firmware_bridge.errors import MinitaurError

# The words of a command, the module whose main() runs it, and what it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("deploy.run", "run a policy on a robot, simulated or real"),
    "replay": ("minitaur.replay", "run the log of a run again, or what met a number not finite"),
    "zero": ("deploy.bringup.zero", "measure the motor zeros of a robot in a jig; arms nothing"),
    "wiggle": ("deploy.bringup.wiggle", "nudge each motor: plugs and signs of drive and encoder"),
    "latency": ("deploy.bringup.latency", "measure how late a command moves a motor"),
    "policy info": ("deploy.policy.info", "describe a policy file"),
    "train": ("training.train", "train a policy; resumes what was stopped"),
    "sweep": ("training.sweep", "train over seeds and ranges of numbers; resumes, with a table"),
    "curves": ("training.runs.curves", "draw the learning curves of runs"),
    "export": ("training.export", "write a trained policy to a file that runs"),
    "eval": ("training.evaluate", "evaluate a policy on many simulated robots"),
    "report": ("training.report", "one HTML page of a run, an evaluation or a training"),
    "search-gait": ("training.search_gait", "search a reference gait"),
    "explain": ("calibration.explain", "say how well the simulator predicts a recorded robot"),
    "calibrate": ("calibration.calibrate", "fit the simulator to records of a robot"),
    "board": ("sim.board.realtime", "start an emulated motor controller on a serial port"),
    "board-qemu": ("sim.board.qemu", "the same, with the image for the Cortex-M4 in QEMU"),
    "hil": ("hil.__main__", "check a motor controller over its serial port"),
    "soak": ("hil.soak", "an hour of runs on the emulated board, something broken in each"),
    "transfer": ("studies.transfer", "evaluate every policy under every condition; takes hours"),
    "ablation": ("studies.ablation", "train without each part of the simulator; takes hours"),
    "walk-ablation": (
        "studies.walk_ablation",
        "train the walk without each part of its recipe; takes hours",
    ),
}


class UnknownCommandError(MinitaurError):
    """There is no such command."""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first arguments name; return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return EXIT_OK
    if words[0] == "--version":
        print(importlib.metadata.version("minitaur-sim-to-real"))
        return EXIT_OK
    for name, (module, _) in COMMANDS.items():
        count = len(name.split())
        if words[:count] == name.split():
            return int(importlib.import_module(module).main(words[count:]))
    raise UnknownCommandError(_unknown(words))


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {does}" for name, (_, does) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: minitaur COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "minitaur COMMAND --help lists the options of a command.",
            "A command whose packages are not installed says how to install them.",
        ]
    )


def _unknown(words: Sequence[str]) -> str:
    typed = " ".join(words[:2])
    near = difflib.get_close_matches(typed, COMMANDS, n=1) or difflib.get_close_matches(
        words[0], COMMANDS, n=1
    )
    hint = f"did you mean `minitaur {near[0]}`?" if near else "`minitaur --help` lists them"
    return f"there is no command {words[0]!r}; {hint}"
