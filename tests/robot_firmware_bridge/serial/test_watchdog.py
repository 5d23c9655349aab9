"""The watchdog process on a real terminal: it speaks when its driver cannot, and only then."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import tty

import pytest

from robot_firmware_bridge.serial.watchdog import Watchdog

KILL = b"\xaa\xbb\x00" * 5
# What a driver does: one watchdog on the terminal, a beat every 10 ms.
DRIVER = """
import os, sys, time
from robot_firmware_bridge.serial.watchdog import Watchdog
port = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
dog = Watchdog(port, bytes.fromhex(sys.argv[2]), 0.08)
print("ready", flush=True)
while dog.beat():
    time.sleep(0.01)
print("off", flush=True)
"""

# The same on a descriptor that it inherits; it waits to be killed.
PIPE_DRIVER = """
import sys, time
from robot_firmware_bridge.serial.watchdog import Watchdog
dog = Watchdog(int(sys.argv[1]), bytes.fromhex(sys.argv[2]), 10.0)
print("ready", flush=True)
time.sleep(60.0)
"""


@pytest.fixture
def terminal():
    board, host = os.openpty()
    tty.setraw(host)
    yield board, host
    os.close(board)
    os.close(host)


@pytest.fixture
def driver(terminal):
    command = [sys.executable, "-c", DRIVER, os.ttyname(terminal[1]), KILL.hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def heard(board, within_s):
    """Return the bytes that come within a time, and how long the first of them took."""
    began, first, data = time.monotonic(), None, b""
    while (left := began + within_s - time.monotonic()) > 0.0:
        if select.select([board], [], [], left)[0]:
            first = first or time.monotonic() - began
            data += os.read(board, 4096)
    return data, first


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_driver_that_is_killed_is_followed_by_one_kill(terminal, driver, number):
    assert heard(terminal[0], 0.15) == (b"", None)
    driver.send_signal(number)
    data, took_s = heard(terminal[0], 0.5)
    assert data == KILL
    assert took_s < 0.5


@pytest.mark.parametrize("end", ["the driver is killed", "the driver asks for it"])
def test_a_kill_that_the_port_does_not_take_is_tried_until_it_does(end):
    port, board = os.pipe2(os.O_NONBLOCK)[::-1]
    with contextlib.suppress(BlockingIOError):
        while os.write(port, b"x" * 4096):
            pass
    if end == "the driver asks for it":
        dog = Watchdog(port, KILL, 10.0)
        dog.kill_motors()
    else:
        command = [sys.executable, "-c", PIPE_DRIVER, str(port), KILL.hex()]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, text=True, pass_fds=(port,)) as process:
            assert process.stdout.readline() == "ready\n"
            process.kill()
        time.sleep(1.0)  # longer than one try
    assert heard(board, 1.5)[0].strip(b"x") == KILL
    if end == "the driver asks for it":
        assert dog._process.wait(5.0) == 0
    os.close(port)
    os.close(board)


def test_a_watchdog_lets_a_port_go_that_was_unplugged(terminal):
    board, host = os.openpty()
    dog = Watchdog(host, KILL, 10.0)
    os.close(board)
    began_s = time.monotonic()
    dog.kill_motors()
    assert time.monotonic() - began_s < 1.0
    os.close(host)


def test_a_driver_that_is_stopped_is_told_when_it_goes_on(terminal, driver):
    driver.send_signal(signal.SIGSTOP)
    data, _ = heard(terminal[0], 0.5)
    # Again and again: it may go on with a command that was on its way.
    assert data.startswith(KILL * 3)
    driver.send_signal(signal.SIGCONT)
    assert driver.stdout.readline() == "off\n"
    driver.wait()
    heard(terminal[0], 0.2)
    assert heard(terminal[0], 0.2)[0] == b""


def test_a_dismissed_watchdog_says_nothing_and_one_told_to_kills(terminal):
    board, host = terminal
    for end, expected in (("dismiss", b""), ("kill_motors", KILL)):
        dog = Watchdog(host, KILL, 10.0)
        assert dog.beat()
        getattr(dog, end)()
        getattr(dog, end)()
        assert not dog.beat()
        assert heard(board, 0.2)[0] == expected


def test_signals_that_end_programs_do_not_end_it(terminal):
    board, host = terminal
    dog = Watchdog(host, KILL, 10.0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        os.kill(dog.pid, number)
    time.sleep(0.1)
    assert dog.beat()
    # Only SIGKILL does, and the driver learns of it.
    os.kill(dog.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5.0
    while dog.beat() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not dog.beat()
    dog.dismiss()
    assert heard(board, 0.1)[0] == b""


def test_a_watchdog_that_does_not_start_is_an_error(terminal, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(OSError, match="does not start"):
        Watchdog(terminal[1], KILL, 1.0)
