"""Where the live view listens: on this computer alone, unless somebody asks for more.

All that can be refused before anything is started stands here.
"""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import socket
from dataclasses import dataclass

from deploy.errors import RunError

LOOPBACK, PORT = "127.0.0.1", 8080
# How many ports are tried where none was asked for.
_TRIES = 50
_HIGHEST = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on.

    Attributes:
        host: Name or number of an interface of this computer.
        port: TCP port.
        chosen: Whether somebody asked for this very port.
    """

    host: str = LOOPBACK
    port: int = PORT
    chosen: bool = False

    @staticmethod
    def parse(text: str) -> Address:
        """Read HOST:PORT, HOST, :PORT or PORT; what is left out is 127.0.0.1 and 8080.

        Raises:
            RunError: The port is none.
        """
        host, colon, port = text.rpartition(":")
        if not colon:
            host, port = ("", text) if text.isdecimal() else (text, "")
        elif text.endswith("]"):  # [::1]
            host, port = text, ""
        host = host.removeprefix("[").removesuffix("]") or LOOPBACK
        if not port:
            return Address(host)
        if not (port.isdecimal() and 0 < int(port) <= _HIGHEST):
            raise RunError(f"--view {text}: the port must be a number from 1 to {_HIGHEST}")
        return Address(host, int(port), chosen=True)

    @property
    def public(self) -> bool:
        """Whether other computers may reach it."""
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    @property
    def url(self) -> str:
        """What to type into a browser."""
        host = self.host
        try:
            number = ipaddress.ip_address(host)
        except ValueError:
            return f"http://{host}:{self.port}"
        if number.is_unspecified:  # every interface: browsers know the computer by its name
            host = socket.gethostname()
        elif number.version == 6:
            host = f"[{host}]"
        return f"http://{host}:{self.port}"

    def free(self) -> Address:
        """Return this address, or one with the next port that is free if none was asked for.

        Raises:
            RunError: It cannot be listened on.
        """
        last = self.port if self.chosen else self.port + _TRIES
        for port in range(self.port, last + 1):
            if self._is_free(port):
                return Address(self.host, port, self.chosen)
        ports = f"port {self.port} is" if self.chosen else f"ports {self.port} to {last} are"
        raise RunError(f"--view: {ports} in use: end what listens there, or take another port")

    def _is_free(self, port: int) -> bool:
        """Return whether nobody listens on a port.

        Raises:
            RunError: The host is none of this computer's, or the port takes more rights.
        """
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(
                self.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
                probe.listen()
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno != errno.EADDRINUSE:
                raise RunError(
                    f"--view {self.host}:{port}: {error.strerror}: take an address of this "
                    "computer, or leave it out for 127.0.0.1"
                ) from error
            return False
        return True


def check_installed() -> None:
    """Refuse a view for which the package is missing.

    Raises:
        RunError: It is not installed.
    """
    if importlib.util.find_spec("viser") is None:
        raise RunError("--view needs viser: pip install '.[view]'")
