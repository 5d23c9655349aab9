"""The harms of a soak: what is done to a run, and by which names the run may end.

A harm is done at a drawn moment to a real `minitaur run` on an emulated board. ``accepted`` are the
faults that a report may name first; "" stands for a good run. A name that is not among them is a
wrong diagnosis.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hil.boards import Board
from hil.fault_injection import inject
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.robot import NUM_MOTORS

GOOD = frozenset({""})
_STALE = frozenset({"stale_state"})
_LOST = frozenset({"robot_link"})
_STOPPED = frozenset({"robot_fault"})
# Where the loop and the board look for the same, the first to see it gives the name.
_TIMEOUT = _STALE | _STOPPED


class Victim(Protocol):
    """A run under way, as harms see it."""

    board: Board
    rng: random.Random
    folder: Path
    mends: list[str]

    def signal(self, number: int) -> None:
        """Send the process of the run a signal."""

    def hang_up(self) -> None:
        """Close the terminal of the run."""

    @property
    def pid(self) -> int:
        """The process of the run."""


@dataclass(frozen=True, slots=True)
class Harm:
    """Something that happens to a run, and the ends that it may have.

    Attributes:
        name: Name for tables and reports.
        act: Does it, to a run that has armed its robot.
        accepted: Names of faults that the report may begin with; "" for none.
        says: What the details of the faults must have; "" for nothing in particular.
        codes: Exit codes of the run; those of a good run and of one with a fault if empty.
        policy: Spoils the policy file before the run: takes its bytes, returns the spoiled ones.
        writes: The run leaves a report and a log; one that is killed or refused does not.
        terminal: The run is started in a terminal of its own.
        words: More of the run's command line.
        before: It is done before the run, which must refuse to arm.
        kills_board: The board is dead afterwards.
    """

    name: str
    act: Callable[[Victim], None]
    accepted: frozenset[str]
    says: str = ""
    codes: frozenset[int] = frozenset()
    policy: Callable[[bytes], bytes] | None = None
    writes: bool = True
    terminal: bool = False
    words: tuple[str, ...] = ()
    before: bool = False
    kills_board: bool = False

    @property
    def arms(self) -> bool:
        """Whether the run arms its robot at all."""
        return self.policy is None and not self.before


def _nothing(_victim: Victim) -> None:
    return


def _order(*orders: str, mends: tuple[str, ...] = ()) -> Callable[[Victim], None]:
    """Give the board's console these orders; ``mends`` take them back after the run."""

    def act(victim: Victim) -> None:
        victim.mends += mends
        for order in orders:
            inject(victim.board, order)

    return act


def _slip(angle_rad: float) -> Callable[[Victim], None]:
    """Let the encoder of a drawn motor slip, one way or the other."""

    def act(victim: Victim) -> None:
        motor, sign = victim.rng.randrange(NUM_MOTORS), victim.rng.choice((-1, 1))
        victim.mends.append(f"encoder-jump {motor} {-sign * angle_rad}")
        inject(victim.board, f"encoder-jump {motor} {sign * angle_rad}")

    return act


def _heat(victim: Victim) -> None:
    motor = victim.rng.randrange(NUM_MOTORS)
    victim.mends += [f"heat {motor} 25", "cool"]
    inject(victim.board, f"heat {motor} {LIMITS.max_housing_c + 10.0}")


def _pull_and_put_back(victim: Victim) -> None:
    inject(victim.board, "unplug")
    time.sleep(victim.rng.uniform(0.02, 0.5))
    inject(victim.board, "replug")


def _signals(*numbers: int) -> Callable[[Victim], None]:
    """Send these signals, a tenth of a second apart."""

    def act(victim: Victim) -> None:
        for number in numbers:
            victim.signal(number)
            time.sleep(0.1)

    return act


def _stop(seconds: float) -> Callable[[Victim], None]:
    """Stop the run's process for a time, as a debugger or a computer that sleeps does."""

    def act(victim: Victim) -> None:
        victim.signal(signal.SIGSTOP)
        time.sleep(seconds)
        victim.signal(signal.SIGCONT)

    return act


def _no_space(victim: Victim) -> None:
    """Let the run write no more to any file: a disk that is full."""
    resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, (0, 0))


def _move_folder(victim: Victim) -> None:
    """Take away the folder that the run will write to."""
    for folder in victim.folder.glob("2*"):
        folder.rename(folder.with_name(f"moved-{folder.name}"))


def _kill_board(victim: Victim) -> None:
    os.kill(victim.board.process.pid, signal.SIGKILL)


def _cut(policy: bytes) -> bytes:
    return policy[: len(policy) // 2]


def _turn_a_bit(policy: bytes) -> bytes:
    spoiled = bytearray(policy)
    spoiled[len(policy) // 3] ^= 4
    return bytes(spoiled)


def _signalled(name: str, *numbers: int) -> Harm:
    """Return a harm of signals, which a run takes for a request to stop."""
    return Harm(name, _signals(*numbers), GOOD, codes=frozenset({130}))


def _hang_up(victim: Victim) -> None:
    victim.hang_up()


def _hung_up(name: str, *words: str) -> Harm:
    """Return a harm that closes the terminal of a run with these options."""
    codes = frozenset({130})
    return Harm(name, _hang_up, GOOD, codes=codes, terminal=True, words=words)


def _refused(name: str, spoil: Callable[[bytes], bytes]) -> Harm:
    """Return a harm to the policy file, with which no motor may be armed."""
    codes = frozenset({2})
    return Harm(name, _nothing, frozenset(), codes=codes, policy=spoil, writes=False)


_BATTERY = ("battery 16",)
_CLOCK = ("clock-drift 0",)
# A board that doubts its own clock damps, and its host sees states of a wrong age.
_CLOCK_ENDS, _CLOCK_SAID = _LOST | _TIMEOUT, "the clock of the board"
_TILTS = frozenset({"", "tilt", "encoder_jump", "robot_fault"})

HARMS: tuple[Harm, ...] = (
    Harm("none", _nothing, GOOD),
    # The line.
    Harm("few_bytes_lost", _order("drop 0.0001", mends=("drop 0",)), GOOD),
    Harm("few_bits_turned", _order("flip 0.0001", mends=("flip 0",)), GOOD),
    Harm("few_bytes_doubled", _order("duplicate 0.0001", mends=("duplicate 0",)), GOOD),
    Harm("frames_repeated", _order("repeat 0.1", mends=("repeat 0",)), GOOD),
    Harm("frames_swapped", _order("swap 0.02", mends=("swap 0",)), GOOD),
    Harm("many_bytes_lost", _order("drop 0.2", mends=("drop 0",)), _TIMEOUT),
    Harm("many_bits_turned", _order("flip 0.2", mends=("flip 0",)), _TIMEOUT),
    Harm("many_bytes_doubled", _order("duplicate 0.5", mends=("duplicate 0",)), _TIMEOUT),
    Harm("line_dead", _order("drop 1", mends=("drop 0",)), _TIMEOUT),
    Harm("bytes_held_16_ms", _order("stall 16"), GOOD | _STALE),
    Harm("adapter_holds", _order("hold 16", mends=("hold 0",)), GOOD | _STALE),
    Harm(
        "adapter_holds_from_the_start",
        _order("hold 16", mends=("hold 0",)),
        _LOST,
        "states arrive",
        before=True,
    ),
    Harm("bytes_held_300_ms", _order("stall 300"), _TIMEOUT),
    Harm("line_50_ms_slower", _order("delay 50", mends=("delay 0",)), _TIMEOUT),
    Harm("cable_pulled", _order("unplug", mends=("replug",)), _LOST | _STALE, "was lost"),
    Harm("cable_pulled_and_put_back", _pull_and_put_back, _LOST | _STALE),
    # The board.
    Harm("board_restarted", _order("reset"), _STALE | _LOST, "started anew"),
    # Its port closes when the system has taken its memory back: until then it is only silent.
    Harm("board_killed", _kill_board, _STALE | _LOST, "was lost", kills_board=True),
    Harm(
        "clock_5_percent_fast", _order("clock-drift 50000", mends=_CLOCK), _CLOCK_ENDS, _CLOCK_SAID
    ),
    Harm(
        "clock_5_percent_slow", _order("clock-drift -50000", mends=_CLOCK), _CLOCK_ENDS, _CLOCK_SAID
    ),
    Harm("clock_stops", _order("clock-drift -1e6", mends=_CLOCK), _CLOCK_ENDS, _CLOCK_SAID),
    Harm("clock_jumps_100_ms", _order("clock-jump 100"), _CLOCK_ENDS, _CLOCK_SAID),
    Harm("battery_low", _order("battery 12", mends=_BATTERY), _STOPPED | {"battery_low"}),
    Harm("battery_flickers", _order("battery 12", "battery 16"), GOOD),
    Harm("imu_frozen", _order("freeze-imu", mends=("thaw-imu",)), _STOPPED, "IMU"),
    Harm("encoder_slips_0.2_rad", _slip(0.2), _TILTS),
    Harm("encoder_slips_0.4_rad", _slip(0.4), frozenset({"encoder_jump"})),
    Harm("encoder_slips_1_rad", _slip(1.0), _STOPPED | {"encoder_jump"}, "ENCODER"),
    Harm("motor_hot", _heat, _STOPPED, "OVERHEAT"),
    # The host.
    Harm("host_stopped_300_ms", _stop(0.3), _TIMEOUT, "COMMAND_TIMEOUT"),
    _signalled("ctrl_c", signal.SIGINT),
    _signalled("ctrl_c_twice", signal.SIGINT, signal.SIGINT),
    _signalled("host_terminated", signal.SIGTERM),
    _signalled("host_hung_up", signal.SIGHUP),
    _signalled("host_quit", signal.SIGQUIT),
    _hung_up("terminal_closed"),
    _hung_up("keyboard_closed", "--policy", "steer", "--command", "keyboard"),
    Harm(
        "host_killed",
        _signals(signal.SIGKILL),
        frozenset(),
        codes=frozenset({-signal.SIGKILL}),
        writes=False,
    ),
    Harm("disk_full", _no_space, GOOD, codes=frozenset({1}), writes=False),
    Harm("folder_gone", _move_folder, GOOD),
    _refused("policy_cut", _cut),
    _refused("policy_bit_turned", _turn_a_bit),
)
BY_NAME = {harm.name: harm for harm in HARMS}


def rss_kb(pid: int) -> float:
    """Return the memory of a process that is resident, in kB; Linux only."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024.0
