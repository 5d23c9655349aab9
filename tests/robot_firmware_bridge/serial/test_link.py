"""The serial link on real pseudo terminals: a pulled cable, and ports that are not to be had."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import threading
import time
import tty
from collections import deque

import numpy as np
import pytest

from robot_firmware_bridge.errors import LinkError, LinkLostError, NoBoardError, PortError
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH
from robot_firmware_bridge.protocol.wire import Command, Decoder, Hello, Identity, State, encode
from robot_firmware_bridge.serial import link as link_module
from robot_firmware_bridge.serial.link import SerialLink, boards_among, find_port
from robot_firmware_bridge.serial.ports import Port, list_ports, stable_path

HELLO = Hello(PROTOCOL_HASH, 2, 2, 0)
COMMAND = encode(Command(1, 80, 1.0, 0.015, np.full(8, 2.0)))
# Generous: nothing here is about speed, and the machine may be busy.
SOON_S = 10.0


def state_frame(sequence):
    eight, three = np.zeros(8), np.zeros(3)
    numbers = (sequence % 65536, 7, sequence * 2000, 0, 0, 0, 0, 0)
    return encode(State(*numbers, eight, eight, eight, three, three, 16.0, eight))


class Cable:
    """A port at a fixed path, and a scripted board behind it: identity, states for whoever asks.

    Attributes:
        heard: Messages that the board received, in order.
    """

    def __init__(self, path):
        self.path, self.heard = str(path), []
        self._master = self._slave = -1
        self._thread = None
        self.plug()

    def plug(self):
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        os.symlink(os.ttyname(self._slave), self.path)
        self._plugged = threading.Event()
        self._plugged.set()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def pull(self):
        """Hang up, and take the device away."""
        if self._thread is None:
            return
        self._plugged.clear()
        self._thread.join()
        self._thread = None
        os.unlink(self.path)
        os.close(self._master)
        os.close(self._slave)

    def _answer(self):
        decoder, sequence, introduced = Decoder(), 0, False
        while self._plugged.is_set():
            if select.select([self._master], [], [], 0.002)[0]:
                for message in decoder.feed(os.read(self._master, 4096)):
                    self.heard.append(message)
                    if isinstance(message, Hello):
                        introduced = True
                        answer = (message.protocol_hash, message.robot_hash, 2, 7, b"", b"")
                        self._say(encode(Identity(*answer, 4.0, 0.1, 1.0, 60.0, 200)))
            if introduced:
                sequence += 1
                self._say(state_frame(sequence))

    def _say(self, frame):
        if select.select([], [self._master], [], 0)[1]:
            os.write(self._master, frame)


@pytest.fixture
def cable(tmp_path):
    cable = Cable(tmp_path / "port")
    yield cable
    cable.pull()


@pytest.fixture
def link(cable):
    link = SerialLink(cable.path)
    link.session.introduce(HELLO)
    assert link.wait(lambda: link.session.state is not None, SOON_S)
    yield link
    link.close()


@pytest.fixture
def silent(tmp_path):
    """Path of a port behind which nobody reads or answers, and the board's end of it."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave), master
    os.close(master)
    os.close(slave)


def until(condition):
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


def is_told(call):
    with contextlib.suppress(LinkLostError):
        call()
        return False
    return True


def test_a_hello_brings_identity_and_states(link, cable):
    assert cable.heard[0] == HELLO
    assert link.session.identity.boot_count == 7
    before = link.session.state
    assert link.wait(lambda: link.session.state is not before, SOON_S)
    link.poll()
    assert abs(link.now_ns() - link.session.state.t_ns) < SOON_S * 1e9
    assert str(link) == f"{cable.path} at 921600 baud"


def test_commands_go_out(link, cable):
    link.send(COMMAND)
    until(lambda: any(isinstance(message, Command) for message in cable.heard))


def test_waiting_in_vain_ends(link):
    assert not link.wait(lambda: False, 0.01)


def test_a_terminal_has_no_low_latency_mode_and_that_is_no_error(link):
    assert link.low_latency is False


def test_a_pulled_cable_is_told_at_every_call_while_it_is_out(link, cable):
    cable.pull()
    until(lambda: is_told(link.poll))
    for call in (link.poll, lambda: link.send(COMMAND), lambda: link.wait(lambda: True, SOON_S)):
        with pytest.raises(
            LinkLostError, match=rf"the link over {cable.path} was lost .*check cable"
        ):
            call()


def test_a_pulled_cable_ends_a_wait_in_progress(link, cable):
    failure = []

    def wait():
        try:
            link.wait(lambda: False, 100 * SOON_S)
        except LinkLostError as error:
            failure.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    cable.pull()
    waiter.join(SOON_S)
    assert failure


def test_the_states_flow_again_when_the_cable_is_back_and_nothing_is_armed(link, cable):
    cable.pull()
    until(lambda: is_told(link.poll))
    cable.plug()
    until(lambda: not is_told(link.poll))
    before = link.session.state
    assert link.wait(lambda: link.session.identity is not None, SOON_S)
    assert link.wait(lambda: link.session.state is not before, SOON_S)
    assert link.session.counters.reconnects == 1
    assert {type(message) for message in cable.heard} == {Hello}


def test_a_loss_that_was_mended_before_anybody_looked_is_told_once(link, cable):
    cable.pull()
    cable.plug()
    until(lambda: link.session.counters.reconnects == 1)
    assert is_told(lambda: link.send(COMMAND))
    link.poll()
    link.send(COMMAND)


def test_a_loss_that_was_told_is_not_told_again_when_the_cable_is_back(link, cable):
    cable.pull()
    until(lambda: is_told(link.poll))
    until(lambda: link._port is None)
    cable.plug()
    until(lambda: link.session.counters.reconnects == 1)
    link.poll()


def test_closing(cable):
    link = SerialLink(cable.path)
    link.close()
    link.close()
    for call in (link.poll, lambda: link.send(COMMAND)):
        with pytest.raises(LinkLostError, match="is closed"):
            call()
    SerialLink(cable.path).close()  # the port was given back


def test_a_board_that_takes_no_bytes_blocks_nobody(silent):
    path, _ = silent
    link = SerialLink(path)
    try:
        with pytest.raises(LinkError, match=f"{path} takes no bytes"):
            deque((link.send(COMMAND) for _ in range(100_000)), maxlen=0)
        link.poll()
    finally:
        link.close()


def test_noise_on_the_line_is_counted_and_nothing_else(silent):
    path, master = silent
    link = SerialLink(path)
    try:
        os.write(master, b"\x00\x55garbage\x00\xff\x00")
        assert link.wait(lambda: link.session.counters.framing_errors == 2, SOON_S)
        assert link.session.counters.bytes_received == 12
    finally:
        link.close()


def test_realtime_priority_is_a_fact_or_refused(cable):
    link = SerialLink(cable.path, realtime=True)
    try:
        scheduler = os.sched_getscheduler(link._thread.native_id)
        assert link.realtime == (scheduler == os.SCHED_FIFO)
    finally:
        link.close()


def test_a_port_that_is_not_there(tmp_path):
    ports = ", ".join(port.path for port in list_ports()) or "none"
    missing = tmp_path / "ttyUSB9"
    with pytest.raises(PortError, match=f"there is no serial port {missing}; ports found: {ports}"):
        SerialLink(str(missing))


def test_a_port_whose_device_was_pulled(cable):
    cable.pull()
    os.symlink("/dev/pts/no-such", cable.path)
    with pytest.raises(PortError, match="there is no serial port"):
        SerialLink(cable.path)


def test_a_port_in_use(link, cable):
    with pytest.raises(PortError, match=f"{cable.path} is in use by another program: close that"):
        SerialLink(cable.path)


@pytest.mark.parametrize("what", ["/dev/null", "/tmp"])
def test_what_is_no_serial_port(what):
    with pytest.raises(PortError, match=f"^{what} is no serial port") as caught:
        SerialLink(what)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("baud", [-1, 0, 10**12])
def test_a_baud_rate_that_cannot_be(silent, baud):
    with pytest.raises(PortError, match=f"{silent[0]} cannot run at {baud} baud"):
        SerialLink(silent[0], baud)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs to give permissions away"
)
def test_a_port_without_permission(silent):
    path, _ = silent
    os.chmod(path, 0o600)
    code = (
        "import os\n"
        "from robot_firmware_bridge.errors import PortError\n"
        "from robot_firmware_bridge.serial.link import SerialLink\n"
        "for group in (20, 0):\n"
        f"    os.chown({path!r}, 65534, group)\n"
        f"    try: SerialLink({path!r})\n"
        "    except PortError as error: print(error)\n"
    )
    without = "--bounding-set=-dac_override,-dac_read_search"
    done = subprocess.run(
        ["setpriv", without, sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    by_group, by_root = done.stdout.splitlines()
    assert by_group.startswith(f"no permission to open {path}: join its group, `sudo usermod -aG ")
    assert by_root.startswith(f"no permission to open {path}: `sudo chgrp dialout {path}`")


def test_boards_are_told_from_other_ports(cable, silent, tmp_path):
    busy = Cable(tmp_path / "busy")
    holder = SerialLink(busy.path)
    try:
        paths = [silent[0], cable.path, str(tmp_path / "missing"), busy.path]
        assert boards_among(paths) == [cable.path]
    finally:
        holder.close()
        busy.pull()
    # Asking must not make the board send states, nor take us for its host.
    assert cable.heard[0] == Hello(PROTOCOL_HASH, 0, 0, 0)


def found(monkeypatch, *paths):
    """Have this computer's USB serial ports be these, and one that is not USB."""
    ports = [Port(path, "adapter", is_usb=True) for path in paths]
    monkeypatch.setattr(
        link_module, "list_ports", lambda: [Port("/dev/ttyS0", "built in", is_usb=False), *ports]
    )


def test_the_one_board_is_found(cable, silent, monkeypatch):
    found(monkeypatch, silent[0], cable.path)
    assert find_port() == cable.path


def test_no_board_is_found(silent, monkeypatch):
    found(monkeypatch, silent[0])
    named = rf"at 921600 baud; ports found: /dev/ttyS0 \(built in\), {silent[0]} \(adapter\)"
    with pytest.raises(NoBoardError, match=named):
        find_port()


def test_two_boards_are_one_too_many(cable, tmp_path, monkeypatch):
    other = Cable(tmp_path / "other")
    try:
        found(monkeypatch, cable.path, other.path)
        with pytest.raises(NoBoardError, match=f"name one of {cable.path}, {other.path}"):
            find_port()
    finally:
        other.pull()


def test_a_device_is_called_by_the_name_that_it_keeps(tmp_path):
    device, by_id = tmp_path / "ttyUSB0", tmp_path / "by-id"
    device.touch()
    assert stable_path(str(device), by_id) == str(device)
    by_id.mkdir()
    (by_id / "usb-other").symlink_to(tmp_path / "ttyUSB1")
    (by_id / "usb-board").symlink_to(device)
    assert stable_path(str(device), by_id) == str(by_id / "usb-board")
