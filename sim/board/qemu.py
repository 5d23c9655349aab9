"""The motor controller's own image in QEMU, in real time: `python -m sim.board.qemu --help`.

The image that `make -C robot_firmware_bridge/firmware` builds boots on an emulated Cortex-M4 and
keeps its own time: its millisecond tick drives everything here. Each tick it writes a drive frame
to a pipe, the simulated robot lives through the millisecond before, and what its sensors read now
lies in a file for the firmware. The bytes of its host port pass through the same line and pseudo
terminal as those of ``sim.board``, so that the same orders make the same trouble.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from robot_firmware_bridge.firmware.library import Drive, Sensors
from robot_firmware_bridge.mocap import MocapWriter
from robot_firmware_bridge.protocol.wire import Decoder, DriveFrame, SensorsFrame, encode
from sim.board.command import Lookout, be_punctual, description, publish, serve, take_from_host
from sim.board.console import Console
from sim.board.plant import BoardPlant
from sim.board.pty_port import PtyPort
from sim.board.qemu_process import Qemu, find
from sim.board.serial_line import SerialLine
from sim.board.watch import Watch
from sim.plant.params import PlantParams
from sim.plant.registry import make_plant

IMAGE = Path(__file__).parents[2] / "build" / "firmware" / "stm32f4.elf"
# Of the image; it is not an option there either.
_BAUD = 921600
# Ticks that the firmware skipped are caught up while they are few: beyond, the robot stands still.
_CATCH_UP_TICKS = 20
# Without a drive frame, the console and the line are served this often.
_PATIENCE_S = 0.005


@dataclass(frozen=True, slots=True)
class Options:
    """Boot the motor controller's image in QEMU with a Minitaur on it, behind a pseudo terminal.

    Prints "port PATH" when ready; hosts open that as the real serial port:

        python -m deploy.run --robot serial --port PATH

    Then every event is printed as one JSON object a line, and every line on standard input is an
    order, such as "drop 0.01", "reset" or "quit"; "help" lists them.

    Exit codes: 0 asked to end, 2 bad input, or QEMU ended by itself.
    """

    image: Path = IMAGE
    """The firmware, as `make -C robot_firmware_bridge/firmware` builds it."""
    link: Path | None = None
    """Where hosts find the port: a symbolic link, which stays the same over unplug and replug.
    Default: minitaur-qemu-PID in the folder for temporary files."""
    seed: int = 0
    """Seed of the sensor noise and of the line's faults."""
    at: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """An order to carry out at a time, "SECONDS ORDER", e.g. --at "2.5 unplug"; may be repeated."""
    truth: Path | None = None
    """Publish the true pose of the body in this file, as motion capture would."""
    exit_with_parent: bool = False
    """End when the process ends that started this one."""


class QemuBoard:
    """Firmware in QEMU, robot, line and console: the console's bench.

    Args:
        qemu: The firmware, booting.
        plant: The robot.
        line: The line between port and board.
        port: Where hosts find the board.
        truth: Where to publish the true pose of the body; None for nowhere.
        schedule: Orders to carry out at a time.
        parent: Process to end with; None for none.

    Raises:
        SimError: An entry of the schedule is wrong.
    """

    def __init__(
        self,
        qemu: Qemu,
        plant: BoardPlant,
        line: SerialLine,
        port: PtyPort,
        *,
        truth: MocapWriter | None = None,
        schedule: Sequence[str] = (),
        parent: int | None = None,
    ) -> None:
        self.plant, self.line, self.port = plant, line, port
        self.t_ns = 0
        self._qemu = qemu
        self._truth = truth
        self._console = Console(self, schedule)
        self._lookout = Lookout(self._console.event, self.quit, parent)
        self._watch = Watch(self._console.event)
        self._decoder = Decoder()
        self._sensors = Sensors()
        self._drive = Drive()
        self._tick: int | None = None
        self._ticks = self._skipped = self._boots = 0
        self._stopping = False

    def reset(self) -> None:
        """Restart the firmware; the robot goes on as it is. A chip in reset drives no bridge."""
        self._drive.enabled = False
        self._qemu.reset()

    def quit(self) -> None:
        """End soon. Safe in a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Live until told to quit.

        Raises:
            SimError: QEMU ended by itself.
        """
        origin_ns, origin_cpu_s = time.monotonic_ns(), time.process_time()
        while not self._stopping:
            select.select([self._qemu.drive_fd], [], [], _PATIENCE_S)
            self.t_ns = time.monotonic_ns() - origin_ns
            self._pass_bytes()
            self._console.poll()
            self._lookout.look(self.t_ns)
            for message in self._decoder.feed(self._qemu.read_drive()):
                if isinstance(message, DriveFrame):
                    self._live(message)
        lived_s = (time.monotonic_ns() - origin_ns) * 1e-9
        cpu_s = time.process_time() - origin_cpu_s
        self._console.event("end", **self._figures(lived_s, cpu_s))

    def _pass_bytes(self) -> None:
        """Between host and firmware, at the pace of the line."""
        line, t_ns = self.line, self.t_ns
        take_from_host(self.port, line, t_ns)
        heard = line.to_board.receive(t_ns)
        self._qemu.write_host(heard)
        said = self._qemu.read_host()
        line.to_host.send(said, t_ns)
        self.port.write(line.to_host.receive(t_ns))
        self._watch.see(t_ns, heard, said)

    def _live(self, frame: DriveFrame) -> None:
        """Let the robot live up to the firmware's tick, and answer with what its sensors read."""
        if self._tick is None or frame.tick < self._tick:
            self._boots += 1
            self._watch.restart()
            self._console.event("boot", boot_count=self._boots)
            passed = 0
        else:
            passed = frame.tick - self._tick
        self._tick = frame.tick
        self._ticks += 1
        if passed > 1:
            self._skipped += passed - 1
            self._lookout.skipped(passed - 1)
        on_stand = self.plant.on_stand
        for _ in range(min(passed, _CATCH_UP_TICKS)):
            self.plant.advance(self._drive)  # of the tick before: it held until now
        self._drive.enabled = bool(frame.enabled)
        self._drive.duty[:] = frame.duty
        if on_stand != self.plant.on_stand:
            self._console.event("on_stand" if self.plant.on_stand else "off_stand")
        self._qemu.write_sensors(self._sensors_frame(frame.tick))
        publish(self._truth, self.plant.plant)

    def _sensors_frame(self, tick: int) -> bytes:
        sensors = self._sensors
        self.plant.sense(sensors)
        return encode(
            SensorsFrame(
                tick,
                sensors.motor_position_rad.astype(np.float64),
                sensors.motor_velocity_rad_s.astype(np.float64),
                sensors.rpy_rad.astype(np.float64),
                sensors.angular_rate_rad_s.astype(np.float64),
                sensors.battery_v,
                sensors.housing_temperature_c.astype(np.float64),
            )
        )

    def _figures(self, lived_s: float, cpu_s: float) -> dict[str, object]:
        """How the run went: control ticks of the firmware, and processors that it took."""
        return {
            "ticks": self._ticks,
            "skipped_ticks": self._skipped,
            "ticks_per_s": round(self._ticks / lived_s, 1),
            "qemu_cpu": round(self._qemu.cpu_s() / lived_s, 2),
            "plant_cpu": round(cpu_s / lived_s, 2),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = tyro.cli(
        Options, args=arguments, prog="python -m sim.board.qemu", description=description(Options)
    )
    return serve(lambda stack: _assemble(options, stack))


def _assemble(options: Options, stack: contextlib.ExitStack) -> QemuBoard:
    """The board that the options ask for; what has to be closed is put on the stack."""
    parent = os.getppid() if options.exit_with_parent else None
    find(options.image)
    be_punctual()  # before QEMU starts, which inherits the priority
    plant = make_plant()
    stack.callback(plant.close)
    plant.reset(PlantParams(seed=options.seed))
    truth = None if options.truth is None else MocapWriter(options.truth)
    if truth is not None:
        stack.callback(truth.close)
    default = Path(tempfile.gettempdir()) / f"minitaur-qemu-{os.getpid()}"
    port = PtyPort(options.link or default)
    stack.callback(port.close)
    qemu = Qemu(options.image)
    stack.callback(qemu.close)
    line = SerialLine(_BAUD, options.seed)
    return QemuBoard(
        qemu, BoardPlant(plant), line, port, truth=truth, schedule=options.at, parent=parent
    )


if __name__ == "__main__":
    sys.exit(main())
