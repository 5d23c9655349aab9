"""The motor controller's own image in QEMU, in real time: `minitaur board-qemu --help`.

The image that `make -C robot_firmware_bridge/firmware` builds boots on an emulated Cortex-M4 and
keeps its own time: its millisecond tick drives everything here. Each tick it writes a drive frame
to a pipe, the simulated robot lives through the millisecond before, and a file for the firmware
gets what the robot's sensors read now. The bytes of the host port pass through the same line and
pseudo terminal as those of ``sim.board``, so that the same orders have the same effects.

Of QEMU's STM32F4 machines this takes netduinoplus2: it has the STM32F405 that the image is for,
with its FPU, and is the only one that QEMU 7.2, of Debian 12, has. Its serial port costs a turn of
QEMU's main loop for each byte that comes in, some 20 kB/s: enough for commands, a tenth of what a
simulated plant's sensors need, which is why those pass through files (semihosting).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robot_firmware_bridge.command_line import command
from robot_firmware_bridge.firmware.library import Drive, Sensors
from robot_firmware_bridge.protocol.wire import Decoder, DriveFrame, SensorsFrame, encode
from sim.board.emulated import Watch
from sim.board.realtime import BoardOptions, RealTimeBoard, be_punctual, serve
from sim.errors import SimError
from sim.plant.params import PlantParams

IMAGE = Path(__file__).parents[2] / "build" / "firmware" / "stm32f4.elf"
# Of the image; it is not an option there either.
_BAUD = 921600
# Ticks that the firmware skipped are caught up while they are few: beyond, the robot stands still.
_CATCH_UP_TICKS = 20
# Without a drive frame, the console and the line are served this often.
_SERVE_S = 0.005

_PROGRAM = "qemu-system-arm"
_MACHINE = "netduinoplus2"
_READ_SIZE = 65536
# From <sys/prctl.h>: a signal for this process when its parent ends.
_PR_SET_PDEATHSIG = 1


class QemuError(SimError):
    """QEMU cannot be started, or ended by itself; the message says why and what to do."""


class Qemu:
    """An image in QEMU, from its power-on. Nothing here waits.

    Args:
        image: The firmware, an ELF file for ``ports/stm32f4``.

    Attributes:
        drive_fd: Readable when the firmware has set its bridges.

    Raises:
        QemuError: QEMU or the image is missing, or it does not start.
    """

    def __init__(self, image: Path) -> None:
        program = shutil.which(_PROGRAM)
        if program is None:
            raise QemuError(f"no {_PROGRAM}: install it (Debian: apt-get install qemu-system-arm)")
        if not image.is_file():
            cure = "make -C robot_firmware_bridge/firmware"
            raise QemuError(f"no image {image}: build it with {cure}")
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minitaur-qemu-")))
            # The files of ``ports/stm32f4/plant_line.c``: a pipe for drives, a file for sensors.
            drive, sensors = folder / "drive", folder / "sensors"
            os.mkfifo(drive)
            self.drive_fd = os.open(drive, os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, self.drive_fd)
            self._sensors_fd = os.open(sensors, os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, self._sensors_fd)
            self._host, host_end = _socket_pair(stack)
            self._monitor, monitor_end = _socket_pair(stack)
            self._complaints = stack.enter_context((folder / "stderr").open("w+b"))
            self._process = subprocess.Popen(
                _command(program, image.resolve(), host_end.fileno(), monitor_end.fileno()),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._complaints,
                pass_fds=(host_end.fileno(), monitor_end.fileno()),
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
            stack.callback(self._end)
            host_end.close()
            monitor_end.close()
            self._ask("qmp_capabilities")
            self._owned = stack.pop_all()

    def reset(self) -> None:
        """Press the reset button.

        Raises:
            QemuError: QEMU ended.
        """
        self._ask("system_reset")

    def read_drive(self) -> bytes:
        """Return the drive frames since the last call.

        Raises:
            QemuError: QEMU ended.
        """
        try:
            return os.read(self.drive_fd, _READ_SIZE)
        except BlockingIOError:
            return b""
        finally:
            self._check()

    def write_sensors(self, frame: bytes) -> None:
        """Show the firmware a frame of sensors, until the next."""
        os.pwrite(self._sensors_fd, frame, 0)

    def read_host(self) -> bytes:
        """Return the bytes that the firmware sent to its host since the last call."""
        try:
            return self._host.recv(_READ_SIZE)
        except (BlockingIOError, ConnectionError):
            return b""

    def write_host(self, data: bytes) -> None:
        """Pass on bytes from the host; what QEMU has no room for is lost, as on a line."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._host.send(data)

    def cpu_s(self) -> float:
        """Return the processor time of QEMU, all threads; 0 where the system does not have it."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Power off. Idempotent."""
        self._owned.close()

    def _ask(self, command: str, **arguments: str) -> None:
        """Send a command to QEMU's monitor (QMP); its answers are not needed."""
        try:
            with contextlib.suppress(BlockingIOError):
                self._monitor.recv(_READ_SIZE)
            self._monitor.send(json.dumps({"execute": command, "arguments": arguments}).encode())
        except ConnectionError:
            self._check()

    def _check(self) -> None:
        code = self._process.poll()
        if code is None:
            return
        self._complaints.seek(0)
        words = self._complaints.read().decode(errors="replace").strip().splitlines()
        raise QemuError(f"{_PROGRAM} ended with {code}: {words[0] if words else 'no message'}")

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


def _socket_pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return this process's end, which never waits, and QEMU's."""
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    stack.enter_context(theirs)
    ours.setblocking(False)
    return ours, theirs


def _command(program: str, image: Path, host_fd: int, monitor_fd: int) -> list[str]:
    return [
        program,
        *("-machine", _MACHINE, "-kernel", str(image), "-display", "none", "-nodefaults"),
        *("-semihosting-config", "enable=on,target=native"),
        *("-chardev", f"socket,id=host,fd={host_fd}", "-serial", "chardev:host"),
        *("-chardev", f"socket,id=monitor,fd={monitor_fd}"),
        *("-mon", "chardev=monitor,mode=control"),
    ]


def _end_with_parent() -> None:
    """Let this process, QEMU's before it starts, end when its parent ends for whatever reason."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Options(BoardOptions):
    """Boot the motor controller's image in QEMU with a Minitaur on it, behind a pseudo terminal.

    Prints "port PATH" when ready; hosts open that as the real serial port:

        minitaur run --robot serial --port PATH --arm

    Then every event is printed as one JSON object a line, and every line on standard input is an
    order, such as "drop 0.01", "reset" or "quit"; "help" lists them.

    Exit codes: 0 ended on request, 2 bad input, or QEMU ended by itself.
    """

    image: Path = IMAGE
    """The firmware, as `make -C robot_firmware_bridge/firmware` builds it."""


class QemuBoard(RealTimeBoard):
    """The firmware's image in QEMU.

    Raises:
        SimError: QEMU or the image is missing, or an option is wrong.
    """

    def __init__(self, options: Options, stack: contextlib.ExitStack) -> None:
        be_punctual()  # before QEMU starts, which inherits the priority
        super().__init__("qemu", options, PlantParams(seed=options.seed), _BAUD, stack)
        self._qemu = Qemu(options.image)
        stack.callback(self._qemu.close)
        self._watch = Watch(self.console.event)
        self._decoder = Decoder()
        self._sensors = Sensors()
        self._drive = Drive()
        self._tick: int | None = None
        self._ticks = self._boots = 0

    def reset(self) -> None:
        """Restart the firmware; the robot goes on as it is. A chip in reset drives no bridge."""
        self._drive.enabled = False
        self._qemu.reset()

    def let_clock_drift(self, ppm: float) -> None:
        """Refuse: the clock is QEMU's."""
        raise QemuError(f"the clock of the board in QEMU is QEMU's: no drift of {ppm:g} ppm")

    def let_clock_jump(self, ms: float) -> None:
        """Refuse: the clock is QEMU's."""
        raise QemuError(f"the clock of the board in QEMU is QEMU's: no jump by {ms:g} ms")

    def run(self) -> None:
        """Live until :meth:`quit`.

        Raises:
            SimError: QEMU ended by itself.
        """
        origin_ns, origin_cpu_s = time.monotonic_ns(), time.process_time()
        while not self.stopping:
            select.select([self._qemu.drive_fd], [], [], _SERVE_S)
            self.t_ns = time.monotonic_ns() - origin_ns
            self._pass_bytes()
            self.console.poll()
            self.check_time_and_parent()
            for message in self._decoder.feed(self._qemu.read_drive()):
                if isinstance(message, DriveFrame):
                    self._live(message)
        lived_s = (time.monotonic_ns() - origin_ns) * 1e-9
        self.console.event(
            "end",
            ticks=self._ticks,
            skipped_ticks=self._skipped,
            ticks_per_s=round(self._ticks / lived_s, 1),
            # Processors that the run took.
            qemu_cpu=round(self._qemu.cpu_s() / lived_s, 2),
            plant_cpu=round((time.process_time() - origin_cpu_s) / lived_s, 2),
        )

    def _pass_bytes(self) -> None:
        """Pass bytes between host and firmware, at the pace of the line."""
        line, t_ns = self.line, self.t_ns
        self.take_from_host()
        received = line.to_board.receive(t_ns)
        self._qemu.write_host(received)
        sent = self._qemu.read_host()
        line.to_host.send(sent, t_ns)
        self.port.write(line.to_host.receive(t_ns))
        self._watch.see(t_ns, received, sent)

    def _live(self, frame: DriveFrame) -> None:
        """Advance the robot to the firmware's tick, and answer with what its sensors read."""
        if self._tick is None or frame.tick < self._tick:
            self._boots += 1
            self._watch.restart()
            self.console.event("boot", boot_count=self._boots)
            passed = 0
        else:
            passed = frame.tick - self._tick
        self._tick = frame.tick
        self._ticks += 1
        if passed > 1:
            self.skip(passed - 1)
        on_stand = self.plant.on_stand
        for _ in range(min(passed, _CATCH_UP_TICKS)):
            self.plant.advance(self._drive)  # of the tick before: it held until now
        self._drive.enabled = bool(frame.enabled)
        self._drive.duty[:] = frame.duty
        if on_stand != self.plant.on_stand:
            self.console.event("on_stand" if self.plant.on_stand else "off_stand")
        self._qemu.write_sensors(self._sensors_frame(frame.tick))
        self.publish()

    def _sensors_frame(self, tick: int) -> bytes:
        now = self._sensors
        self.plant.sense(now)
        four = now.motor_position_rad, now.motor_velocity_rad_s, now.rpy_rad, now.angular_rate_rad_s
        vectors = (vector.astype(np.float64) for vector in (*four, now.housing_temperature_c))
        position, velocity, rpy, rate, housing = vectors
        return encode(SensorsFrame(tick, position, velocity, rpy, rate, now.battery_v, housing))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return serve(Options, QemuBoard, "minitaur board-qemu", arguments)


if __name__ == "__main__":
    sys.exit(main())
