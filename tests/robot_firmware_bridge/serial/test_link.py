"""The serial link on real pseudo terminals: a pulled cable, and ports that are not to be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tty
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import numpy as np
import pytest
from support.processes import until

from robot_firmware_bridge.errors import LinkError, LinkLostError, NoBoardError, PortError
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH
from robot_firmware_bridge.protocol.wire import Command, Decoder, Hello, encode
from robot_firmware_bridge.serial import link as link_module
from robot_firmware_bridge.serial.link import SerialLink, find_port
from robot_firmware_bridge.serial.ports import (
    Port,
    list_ports,
    open_port,
    stable_path,
    why_late,
    why_stuck,
)

HELLO = Hello(PROTOCOL_HASH, 2, 2, 0)
COMMAND = encode(Command(1, 80, 1.0, 0.015, np.full(8, 2.0)))
# Generous: nothing here is about speed, and the machine may be busy.
SOON_S = 10.0


@pytest.fixture
def cable(board, tmp_path):
    """A board at a path that stays the same; its cable can be pulled."""
    return board(robot_hash=HELLO.robot_hash, link=tmp_path / "port")


@pytest.fixture
def link(cable):
    with closing(SerialLink(cable.path)) as link:
        link.session.introduce(HELLO)
        assert link.wait(lambda: link.session.state is not None, SOON_S)
        yield link


@pytest.fixture
def silent(tmp_path):
    """Path of a port behind which no board reads or answers, and the board's end of it."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave), master
    os.close(master)
    os.close(slave)


def is_lost(call):
    with suppress(LinkLostError):
        call()
        return False
    return True


def test_a_hello_brings_identity_and_states(link, cable):
    assert cable.received[0] == HELLO
    assert link.session.identity.boot_count == 7
    before = link.session.state
    assert link.wait(lambda: link.session.state is not before, SOON_S)
    link.poll()
    assert abs(link.now_ns() - link.session.state.t_ns) < SOON_S * 1e9
    assert str(link) == f"{cable.path} at 921600 baud"


def test_commands_go_out(link, cable):
    link.send(COMMAND)
    until(lambda: any(isinstance(message, Command) for message in cable.received))


def test_waiting_in_vain_ends(link):
    assert not link.wait(lambda: False, 0.01)


def test_a_terminal_has_no_low_latency_mode_and_that_is_no_error(link):
    assert link.low_latency is False


def test_a_pulled_cable_is_lost_at_every_call_while_it_is_out(link, cable):
    cable.close()
    until(lambda: is_lost(link.poll))
    for call in (link.poll, lambda: link.send(COMMAND), lambda: link.wait(lambda: True, SOON_S)):
        with pytest.raises(
            LinkLostError, match=rf"the link over {cable.path} was lost .*check cable"
        ):
            call()


def test_a_pulled_cable_ends_a_wait_in_progress(link, cable):
    with ThreadPoolExecutor() as pool:
        waiter = pool.submit(is_lost, lambda: link.wait(lambda: False, 100 * SOON_S))
        cable.close()
        assert waiter.result(SOON_S)


def test_the_states_flow_again_when_the_cable_is_back_and_nothing_is_armed(link, cable):
    cable.close()
    until(lambda: is_lost(link.poll))
    cable.plug()
    until(lambda: not is_lost(link.poll))
    before = link.session.state
    assert link.wait(lambda: link.session.identity is not None, SOON_S)
    assert link.wait(lambda: link.session.state is not before, SOON_S)
    assert link.session.counters.reconnects == 1
    assert {type(message) for message in cable.received} == {Hello}


def test_a_loss_that_was_mended_before_any_call_is_reported_once(link, cable):
    cable.close()
    cable.plug()
    until(lambda: link.session.counters.reconnects == 1)
    assert is_lost(lambda: link.send(COMMAND))
    link.poll()
    link.send(COMMAND)


def test_a_loss_that_was_reported_is_not_reported_again_when_the_cable_is_back(link, cable):
    cable.close()
    until(lambda: is_lost(link.poll))
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


def test_a_board_that_takes_no_bytes_blocks_no_call(silent):
    path, _ = silent
    with closing(SerialLink(path)) as link:
        with pytest.raises(LinkError, match=f"{path} took no bytes for "):
            deque((link.send(COMMAND) for _ in range(100_000)), maxlen=0)
        link.poll()


def test_noise_on_the_line_is_counted_and_nothing_else(silent):
    path, master = silent
    with closing(SerialLink(path)) as link:
        os.write(master, b"\x00\x55garbage\x00\xff\x00")
        assert link.wait(lambda: link.session.counters.framing_errors == 2, SOON_S)
        assert link.session.counters.bytes_received == 12


def test_realtime_priority_is_a_fact_or_refused(cable):
    with closing(SerialLink(cable.path, realtime=True)) as link:
        scheduler = os.sched_getscheduler(link._thread.native_id)
        assert link.realtime == (scheduler == os.SCHED_FIFO)


def test_a_port_that_is_not_there(tmp_path):
    ports = ", ".join(port.path for port in list_ports()) or "none"
    missing = tmp_path / "ttyUSB9"
    with pytest.raises(PortError, match=f"there is no serial port {missing}; ports found: {ports}"):
        SerialLink(str(missing))


def test_a_port_whose_device_was_pulled(cable):
    cable.close()
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


def found(monkeypatch, *paths):
    """Have this computer's USB serial ports be these, and one that is not USB."""
    ports = [Port(path, "adapter", is_usb=True) for path in paths]
    monkeypatch.setattr(
        link_module, "list_ports", lambda: [Port("/dev/ttyS0", "built in", is_usb=False), *ports]
    )


def test_the_one_board_is_found_and_not_taken(cable, monkeypatch):
    found(monkeypatch, cable.path)
    assert find_port() == cable.path
    # The question must not make the board send states, nor take this program for its host.
    assert cable.received == [Hello(PROTOCOL_HASH, 0, 0, 0)]


def test_a_board_that_still_talks_to_its_last_host_is_found_without_a_question(cable, monkeypatch):
    with closing(SerialLink(cable.path)) as link:
        link.session.introduce(HELLO)
        assert link.wait(lambda: link.session.state is not None, SOON_S)
    found(monkeypatch, cable.path)
    count = len(cable.received)
    assert find_port() == cable.path
    assert len(cable.received) == count


def test_a_silent_port_is_asked_once_and_no_board_is_found(silent, monkeypatch):
    found(monkeypatch, silent[0])
    named = rf"no board answers at 921600 baud behind {silent[0]} \(adapter\): if it is there, name"
    with pytest.raises(NoBoardError, match=named):
        find_port()
    assert Decoder().feed(os.read(silent[1], 4096))[0] == Hello(PROTOCOL_HASH, 0, 0, 0)


def test_a_stranger_that_talks_is_sent_nothing(silent, monkeypatch):
    path, master = silent
    found(monkeypatch, path)
    with ThreadPoolExecutor() as pool:
        search = pool.submit(find_port)
        while not search.done():
            os.write(master, b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M\r\n\x00")
            time.sleep(0.01)
        with pytest.raises(NoBoardError, match=r"bytes that are no board's .*was sent nothing"):
            search.result()
    os.set_blocking(master, False)
    with pytest.raises(BlockingIOError):
        os.read(master, 4096)


def test_of_several_ports_none_is_opened(cable, silent, monkeypatch):
    found(monkeypatch, cable.path, silent[0])
    named = rf"name one with --port \(PORT=\): {cable.path} \(adapter\), {silent[0]} "
    in_use = closing(SerialLink(cable.path))  # so it could not be opened
    with in_use, pytest.raises(NoBoardError, match=named):
        find_port()


def test_without_a_usb_port_nothing_is_opened(monkeypatch):
    found(monkeypatch)
    with pytest.raises(NoBoardError, match=r"no USB serial port .*found: /dev/ttyS0 \(built in\)"):
        find_port()


def test_a_latency_timer_is_named_with_its_cure(silent, tmp_path):
    path, _ = silent
    timer = tmp_path / os.path.basename(path) / "latency_timer"
    assert why_late(path, tmp_path).startswith("its adapter or a USB hub holds bytes back, or")
    timer.parent.mkdir()
    timer.write_text("16\n")
    cure = f"its adapter holds bytes back for 16 ms: `echo 1 | sudo tee {timer}`"
    assert why_late(path, tmp_path) == cure
    timer.write_text("1\n")
    assert why_late(path, tmp_path).startswith("its adapter or a USB hub")


def test_a_write_that_overslept_blames_this_computer(silent, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    assert "its driver or adapter hangs; pull" in why_stuck("/dev/ttyUSB0", 0.051)
    late = "/dev/ttyUSB0 took no bytes for 300 ms, as this program had no turn"
    assert why_stuck("/dev/ttyUSB0", 0.3).startswith(late)
    monkeypatch.setattr(os, "getloadavg", lambda: (500.0, 0.5, 0.5))
    assert "this computer is busy (load 500.0 on" in why_stuck("/dev/ttyUSB0", 0.051)


def test_modem_lines_are_raised_for_a_named_port_only(silent):
    for lines_low in (False, True):
        with closing(open_port(silent[0], 921_600, lines_low=lines_low)) as port:
            assert port.dtr is port.rts is not lines_low


def test_a_device_is_called_by_the_name_that_it_keeps(tmp_path):
    device, by_id = tmp_path / "ttyUSB0", tmp_path / "by-id"
    device.touch()
    assert stable_path(str(device), by_id) == str(device)
    by_id.mkdir()
    (by_id / "usb-other").symlink_to(tmp_path / "ttyUSB1")
    (by_id / "usb-board").symlink_to(device)
    assert stable_path(str(device), by_id) == str(by_id / "usb-board")
