"""A process that sends a robot's last packets when the process that drives it no longer can.

A board without a command timeout holds the last pose for ever, motors on. So a second process has
the port open, too, and is told of every command. When no word comes for too long, or the other
process is gone (SIGKILL, too), it empties the port's queue and sends what switches the motors off.

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
# For as long it tries to write into a port that takes nothing.
_LAST_WORDS_S = 0.5


class Watchdog:
    """The driving process's side.

    Args:
        port: File descriptor of the open port.
        last_words: What to write there.
        patience_s: Time without a word after which the other process does so.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(self, port: int, last_words: bytes, patience_s: float) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", __file__),
                    *(str(port), str(theirs.fileno()), repr(patience_s), last_words.hex()),
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
            self.speak()
            raise OSError("the watchdog process does not start")
        ours.setblocking(False)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def beat(self) -> bool:
        """Say that a command is about to be sent; return False if the motors are off instead."""
        try:
            self._socket.send(_BEAT)
        except OSError:  # it has spoken, or it is gone or stopped
            return False
        return True

    def dismiss(self) -> None:
        """End the process; it sends nothing. Idempotent; never raises."""
        with contextlib.suppress(OSError):
            self._socket.send(_DISMISSED)
        self.speak()

    def speak(self) -> None:
        """Let the process send its last words now, and end. Idempotent; never raises."""
        self._socket.close()
        try:
            self._process.wait(2.0 * _LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _watch(port: int, driver: socket.socket, patience_s: float, last_words: bytes) -> None:
    """Wait for silence or the other process's end; twice, as a stopped process may go on."""
    driver.send(_READY)
    while select.select([driver], [], [], patience_s)[0]:
        words = driver.recv(4096)
        if words.endswith(_DISMISSED):
            return
        if not words:
            _say(port, last_words)
            return
    _say(port, last_words)
    driver.shutdown(socket.SHUT_RD)  # so that the next beat fails
    gone = select.poll()
    gone.register(driver, 0)
    gone.poll()
    # It may have stopped between its beat and its command, and have sent that since.
    _say(port, last_words)


def _say(port: int, last_words: bytes) -> None:
    """Write the last words before anything that still waits in the port."""
    until_s = time.monotonic() + _LAST_WORDS_S
    with contextlib.suppress(OSError, termios.error):
        termios.tcflush(port, termios.TCOFLUSH)
        while last_words and select.select([], [port], [], until_s - time.monotonic())[1]:
            last_words = last_words[os.write(port, last_words) :]


def main(arguments: list[str]) -> None:
    """Run the child: descriptors of port and socket, patience in s, last words in hex."""
    port, driver, patience_s, last_words = arguments
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(driver)) as connection:
        _watch(int(port), connection, float(patience_s), bytes.fromhex(last_words))


if __name__ == "__main__":
    main(sys.argv[1:])
