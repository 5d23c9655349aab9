"""Hardware-in-the-loop checks: `minitaur hil --help`, or `make hil`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from hil.conftest import add_options, needs_yes, refusal
from robot_firmware_bridge.command_line import EXIT_BAD_INPUT, EXIT_INTERRUPTED, command

# pytest's exit codes that mean something else in this project.
_EXIT_CODES = {
    pytest.ExitCode.INTERRUPTED: EXIT_INTERRUPTED,
    pytest.ExitCode.USAGE_ERROR: EXIT_BAD_INPUT,
    pytest.ExitCode.NO_TESTS_COLLECTED: EXIT_BAD_INPUT,
}
_PROMPT = (
    "The checks arm the motor controller on {port} and open its bridges. No command has torque,\n"
    "but a faulty controller may do anything. Robot on a stand, hands clear? [y/N] "
)
_ABOUT = """\
Check motor controllers over their serial line: handshake, modes, watchdog, faults, walking.

There are four board kinds. The first, the second and the last have the same checks, as far as they
can bear them; the third has checks of its own:

  emulated  The firmware's C core as a process, on the simulated robot. All checks: the robot
            walks, its cable is pulled, its host is killed.
  qemu      The image for the Cortex-M4 in an emulated computer, on the same robot. It needs
            qemu-system-arm and arm-none-eabi-gcc, and is skipped where they are not installed.
            It does not keep time as a chip does: a walk that this computer disturbs in five
            tries is skipped there, never on the other boards.
  stock     The Minitaur's own mainboard, emulated, which checks nothing and has no timeout: what
            keeps its motors safe is the host, through every signal, loss and damage.
  real      The motor controller on --port. The robot must be on a stand, for it is armed, though
            no command has torque. The program asks once.

The checks are pytest's, and every option of pytest works: -k "identity or watchdog" makes two of
them, --collect-only lists them, -x stops at the first failure.
"""
_EXITS = "Exit codes: 0 no check failed, 1 a check failed, 2 bad input, 130 interrupted."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"error: {message}\n")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    whole = argparse.RawDescriptionHelpFormatter
    parser = _Parser("minitaur hil", None, _ABOUT, _EXITS, formatter_class=whole)
    add_options(parser.add_argument)
    options, _ = parser.parse_known_args(arguments)
    if (reason := refusal(options)) is not None:
        parser.error(reason)
    if needs_yes(options):
        if not sys.stdin.isatty():
            parser.error("a real robot must be on a stand, hands clear: say so with --yes (YES=1)")
        if input(_PROMPT.format(port=options.port)).strip().lower() not in ("y", "yes"):
            parser.error("not confirmed: nothing was armed")
        arguments.append("--yes")
    ours = ["-v", "--tb=short", "-rfEs", f"--junitxml={options.report.with_suffix('.xml')}"]
    code = pytest.main([str(Path(__file__).parent), *ours, *arguments])
    return int(_EXIT_CODES.get(pytest.ExitCode(code), code))


if __name__ == "__main__":
    sys.exit(main())
