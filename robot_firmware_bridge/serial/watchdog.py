"""A process that switches a robot's motors off when the process that drives it no longer can.

A board without a command timeout holds the last pose for ever, motors on. So a second process has
the port open, too, and is told of every command. When no word comes for too long, or the driving
process is gone (SIGKILL, too), it empties the port's queue and sends what kills the motors: again
and again while the driving process is there, and once it is gone until the port has taken it.

The child runs this file as a script and imports the standard library only: it is ready within some
tens of ms, and little can fail in it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time

_READY = b"r"
_BEAT = b"."
_DISMISSED = b"d"
_START_S = 5.0
_END_S = 2.0
# While the driving process lives, the kill is sent again so often: it may have been stopped between
# its beat and its command, and have sent that since.
_AGAIN_MS = 50
# For as long one kill tries to get into a port that takes nothing, and for as long all of them do
# once nobody else can.
_WRITE_S, _ALONE_S = 0.5, 60.0
# A watchdog that does not read is noticed after some 20 beats.
_QUEUE_BYTES = 16_384
# Above the control loop's 80, so that a loop that never sleeps cannot keep it from speaking.
_FIFO_PRIORITY = 81


class Watchdog:
    """The driving process's side.

    Args:
        port: File descriptor of the open port; the child has one of its own.
        kill: Bytes that switch the motors off.
        patience_s: Time without a word after which the child sends them.

    Raises:
        OSError: The child cannot be started.
    """

    def __init__(self, port: int, kill: bytes, patience_s: float) -> None:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE_BYTES)
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", __file__),
                    *(str(port), str(theirs.fileno()), repr(patience_s), kill.hex()),
                ],
                pass_fds=(port, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # no signal of the terminal reaches it
            )
        self._socket = ours
        ours.settimeout(_START_S)
        try:
            ready = ours.recv(1)
        except OSError:
            ready = b""
        if ready != _READY:
            self.kill_motors()
            raise OSError("the watchdog process does not start")
        ours.setblocking(False)

    @property
    def pid(self) -> int:
        """Number of the child."""
        return self._process.pid

    def beat(self) -> bool:
        """Say that a command is about to be sent; return False if it must not be.

        It must not where the child has killed the motors, or no longer watches.
        """
        try:
            self._socket.send(_BEAT)
        except OSError:
            return False
        return True

    def dismiss(self) -> None:
        """End the child; it sends nothing. Idempotent; never raises."""
        with contextlib.suppress(OSError):
            self._socket.send(_DISMISSED)
        self.kill_motors()

    def kill_motors(self) -> None:
        """Let the child kill the motors now, and end. Idempotent; never raises.

        A child whose port takes nothing is left behind: it tries on, and ends by itself.
        """
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)


def _watch(port: int, driver: socket.socket, patience_s: float, kill: bytes) -> None:
    """Wait for silence or for the driver's end, then kill until the driver is gone."""
    driver.send(_READY)
    while select.select([driver], [], [], patience_s)[0]:
        try:
            words = driver.recv(4096)
        except OSError:
            words = b""
        if words.endswith(_DISMISSED):
            return
        if not words:
            break
    with contextlib.suppress(OSError):  # first of all: from now on every beat fails
        driver.shutdown(socket.SHUT_RD)
    gone = select.poll()
    gone.register(driver, 0)
    sent = _send(port, kill)
    while not gone.poll(_AGAIN_MS):
        sent = _send(port, kill)
    until_s = time.monotonic() + _ALONE_S
    while not sent and time.monotonic() < until_s:
        time.sleep(1e-3 * _AGAIN_MS)
        sent = _send(port, kill)


def _send(port: int, kill: bytes) -> bool:
    """Write the kill before anything that still waits in the port.

    Returns:
        Whether there is no more to do: the port took it all, or is gone.
    """
    until_s = time.monotonic() + _WRITE_S
    with contextlib.suppress(OSError, termios.error):
        termios.tcflush(port, termios.TCOFLUSH)
    try:
        while kill and (left_s := until_s - time.monotonic()) > 0.0:
            if select.select([], [port], [], left_s)[1]:
                with contextlib.suppress(BlockingIOError):  # another writer has the port's lock
                    kill = kill[os.write(port, kill) :]
    except OSError:  # unplugged: an open descriptor would keep its name from coming back
        return True
    return not kill


def main(arguments: list[str]) -> None:
    """Run the child: descriptors of port and socket, patience in s, kill in hex."""
    port, driver, patience_s, kill = arguments
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):  # no permission; no such scheduler
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))
    with socket.socket(fileno=int(driver)) as connection:
        _watch(int(port), connection, float(patience_s), bytes.fromhex(kill))


if __name__ == "__main__":
    main(sys.argv[1:])
