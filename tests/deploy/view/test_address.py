"""Where the live view listens: nobody else sees a robot unless that was asked for."""

import re
import socket
import sys

import pytest

from deploy.errors import RunError
from deploy.options import Options
from deploy.view.address import Address


@pytest.fixture
def taken():
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("text", "host", "port", "chosen"),
    [
        ("0.0.0.0:9000", "0.0.0.0", 9000, True),
        ("robot.local", "robot.local", 8080, False),
        (":9000", "127.0.0.1", 9000, True),
        ("9000", "127.0.0.1", 9000, True),
        ("[::1]:9000", "::1", 9000, True),
        ("[::1]", "::1", 8080, False),
    ],
)
def test_an_address_may_leave_out_host_or_port(text, host, port, chosen):
    assert Address.parse(text) == Address(host, port, chosen)


@pytest.mark.parametrize("text", ["127.0.0.1:http", "localhost:0", ":65536"])
def test_a_port_that_is_none_is_refused(text):
    with pytest.raises(RunError, match=rf"^--view {re.escape(text)}: the port must be a number"):
        Address.parse(text)


def test_without_an_address_only_this_computer_sees_the_run():
    assert Options().view_address is None
    assert Options(view=()).view_address == Address("127.0.0.1", 8080)
    assert not Options(view=()).view_address.public


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("localhost", False),
        ("::1", False),
        ("127.0.0.2", False),
        ("0.0.0.0", True),
        ("192.168.1.5", True),
        ("robot.local", True),
    ],
)
def test_it_is_known_whether_others_see_it(host, public):
    assert Address(host).public is public


def test_the_url_is_what_a_browser_takes():
    assert Address("127.0.0.1", 9000).url == "http://127.0.0.1:9000"
    assert Address("::1", 9000).url == "http://[::1]:9000"
    assert Address("0.0.0.0", 9000).url == f"http://{socket.gethostname()}:9000"


def test_a_taken_port_that_was_asked_for_is_refused(taken):
    with pytest.raises(RunError, match=rf"^--view: port {taken} is in use: .* another port$"):
        Address(port=taken, chosen=True).free()


def test_else_the_next_free_port_is_taken(taken):
    found = Address(port=taken).free()
    assert found.port > taken
    with socket.create_server(("127.0.0.1", found.port)):
        pass


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_computer_is_refused(host):
    """The first is an address for documents, which no computer has."""
    with pytest.raises(
        RunError, match=rf"^--view {host}:8080: .* take an address of this computer"
    ):
        Address(host).free()


def test_a_missing_package_is_one_line_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)  # as Python notes what cannot be imported
    Options().check()
    with pytest.raises(RunError, match=r"^--view needs viser: pip install '\.\[view\]'$"):
        Options(view=()).check()
