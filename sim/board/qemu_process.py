"""QEMU as a board without a robot: an image running on a Cortex-M4, and the ends of its lines.

Of QEMU's STM32F4 machines this takes netduinoplus2: it carries the STM32F405 that the image is for,
with its FPU, and is the only one that QEMU 7.2, of Debian 12, has. Its serial port costs a turn of
QEMU's main loop for each byte that comes in, some 20 kB/s: enough for commands, a tenth of what a
simulated plant's sensors need, which is why those pass through files (semihosting).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from sim.errors import SimError

_PROGRAM = "qemu-system-arm"
_MACHINE = "netduinoplus2"
_READ_SIZE = 65536
# From <sys/prctl.h>: a signal for this process when its parent ends.
_PR_SET_PDEATHSIG = 1


class QemuError(SimError):
    """QEMU cannot be started, or ended by itself; the message says why and what to do."""


def find(image: Path) -> str:
    """Where QEMU is; also looks whether the image is there.

    Raises:
        QemuError: One of them is missing.
    """
    program = shutil.which(_PROGRAM)
    if program is None:
        raise QemuError(f"no {_PROGRAM}: install it (Debian: apt-get install qemu-system-arm)")
    if not image.is_file():
        raise QemuError(f"no image {image}: build it with make -C robot_firmware_bridge/firmware")
    return program


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
        program = find(image)
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minitaur-qemu-")))
            self.drive_fd, self._sensors_fd = _open_files(folder, stack)
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
        """Drive frames since the last call.

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
        """Bytes that the firmware sent to its host since the last call."""
        try:
            return self._host.recv(_READ_SIZE)
        except (BlockingIOError, ConnectionError):
            return b""

    def write_host(self, data: bytes) -> None:
        """Bytes from the host; what QEMU has no room for is lost, as on a line."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._host.send(data)

    def cpu_s(self) -> float:
        """Processor time that QEMU has used, all threads; 0 where the system does not tell."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Power off. Idempotent."""
        self._owned.close()

    def _ask(self, command: str, **arguments: str) -> None:
        """Order something over QEMU's monitor (QMP); its answers say nothing that is needed."""
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
        raise QemuError(f"{_PROGRAM} ended with {code}: {words[0] if words else 'no word'}")

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


def _open_files(folder: Path, stack: contextlib.ExitStack) -> tuple[int, int]:
    """What ``ports/stm32f4/plant_line.c`` opens: a pipe for drives, a file for sensors."""
    drive, sensors = folder / "drive", folder / "sensors"
    os.mkfifo(drive)
    fds = (
        os.open(drive, os.O_RDONLY | os.O_NONBLOCK),
        os.open(sensors, os.O_RDWR | os.O_CREAT, 0o600),
    )
    for fd in fds:
        stack.callback(os.close, fd)
    return fds


def _socket_pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Our end, which never waits, and QEMU's."""
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
    """In the child, before QEMU: end when the parent does, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
