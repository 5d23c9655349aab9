"""Serial ports: list them, and open one with an error that says what to do.

With ``link.py`` the only module that knows pyserial.
"""

from __future__ import annotations

import errno
import grp
import os
import termios
from dataclasses import dataclass
from pathlib import Path

import serial
from serial.tools import list_ports as pyserial_ports

from robot_firmware_bridge.errors import PortError

_WRITE_TIMEOUT_S = 0.05
_BY_ID = Path("/dev/serial/by-id")
# Adapters of FTDI have their latency timer, in ms, in the folder of their terminal in here.
_USB_SERIAL = Path("/sys/bus/usb-serial/devices")
# A write that took twice its timeout did not wait for the port alone.
_OVERSLEPT_S = 2 * _WRITE_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Port:
    """A serial port of this computer.

    Attributes:
        path: What to open; the same after the cable was pulled and put back, where udev sees to it.
        description: What its driver calls it.
        is_usb: Whether it is a USB adapter or device, as boards are.
    """

    path: str
    description: str
    is_usb: bool


def list_ports() -> list[Port]:
    """Return the serial ports of this computer, by name."""
    return [
        Port(stable_path(info.device), info.description, info.vid is not None)
        for info in sorted(pyserial_ports.comports(), key=lambda info: str(info.device))
    ]


def stable_path(device: str, by_id: Path = _BY_ID) -> str:
    """Return the name that a device keeps when it is plugged in again, or the device itself.

    ``/dev/ttyUSB0`` may come back as ``ttyUSB1``; udev's links by serial number do not change.
    """
    links = sorted(by_id.iterdir()) if by_id.is_dir() else []
    return next((str(link) for link in links if os.path.realpath(link) == device), device)


def open_port(path: str, baud: int, *, lines_low: bool = False) -> serial.Serial:
    """Open a port for this process alone: 8N1, reads that never wait, writes that hardly do.

    With ``lines_low``, DTR and RTS are let go as soon as the driver permits. Linux itself raises
    them for a moment while it opens a port.

    Raises:
        PortError: It is not there, in use, not permitted, or not a serial port.
    """
    if baud <= 0:  # 0 would hang up
        raise PortError(f"{path} cannot run at {baud} baud")
    try:
        port = serial.Serial(None, baud, timeout=0, write_timeout=_WRITE_TIMEOUT_S, exclusive=True)
        port.dtr = port.rts = not lines_low
        port.port = path
        port.open()
        return port
    except (OSError, ValueError, OverflowError, termios.error) as error:
        raise PortError(_why_not(path, baud, error)) from error


def low_latency(port: serial.Serial) -> bool:
    """Ask the driver to pass bytes on at once; return whether it does.

    FTDI adapters hold bytes back for 16 ms by default. Many drivers have no such mode and refuse.
    """
    try:
        port.set_low_latency_mode(True)
    except (OSError, ValueError, NotImplementedError):
        return False
    return True


def why_late(path: str, adapters: Path = _USB_SERIAL) -> str:
    """Return what may hold bytes back on a port, and the cure, for an error of one line."""
    timer = adapters / Path(os.path.realpath(path)).name / "latency_timer"
    busy = (
        "its adapter or a USB hub holds bytes back, or this computer is busy: use another port or "
        "adapter, or stop other programs"
    )
    try:
        held_ms = int(timer.read_text())
    except (OSError, ValueError):
        return busy
    if held_ms <= 1:
        return busy
    return f"its adapter holds bytes back for {held_ms} ms: `echo 1 | sudo tee {timer}`"


def why_stuck(path: str, took_s: float) -> str:
    """Return why a port took no bytes for so long, as an error of one line."""
    waited = f"{path} took no bytes for {1e3 * took_s:.0f} ms"
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    busy = f"this computer is busy (load {load:.1f} on {processors} processors)"
    if took_s > _OVERSLEPT_S:
        return f"{waited}, as this program had no turn: {busy}; stop other programs"
    if load > processors:
        return f"{waited}: {busy}, or its driver or adapter hangs"
    return f"{waited}: its driver or adapter hangs; pull its plug and put it back"


def _why_not(path: str, baud: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT or not os.path.exists(path):
        found = ", ".join(port.path for port in list_ports()) or "none"
        return f"there is no serial port {path}; ports found: {found}"
    if number in (errno.EACCES, errno.EPERM):
        return f"no permission to open {path}: {_permission_cure(path)}"
    if number in (errno.EAGAIN, errno.EBUSY):
        return f"{path} is in use by another program: close that first (`fuser -v {path}` names it)"
    if number in (errno.ENXIO, errno.EIO, errno.ENODEV):
        return f"nothing is plugged in behind {path} ({error}): check the cable"
    if isinstance(error, (ValueError, OverflowError)):
        return f"{path} cannot run at {baud} baud: {error}"
    return f"{path} is no serial port: {error}"


def _permission_cure(path: str) -> str:
    gid = os.stat(path).st_gid
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    if gid == 0:  # no user should join root's group
        return f"`sudo chgrp dialout {path}`, and join that group"
    return f"join its group, `sudo usermod -aG {group} $USER`, and log in again"
