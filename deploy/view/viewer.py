"""The process of the live view; ``deploy.view.live_view`` starts it.

It looks at the newest tick some 30 times a second, and draws it if a browser is there to see it. A
frame that is late is left out. Nobody waits for this process: it reads the ring of the black box,
which the control loop fills without knowing who reads, and what the loop says beside that.

The end of the loop, by whatever cause, is the end of the connection to it. Browsers get the last
state then, and the process ends, even if it hangs in a page that nobody fetches.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray

from deploy.record.tick_row import TickRow
from deploy.view.figures import WINDOW_S, figures
from deploy.view.panel import Notices, panel, waiting
from deploy.view.pose import Pose
from deploy.view.ring import NewestTicks
from deploy.view.scene import Scene
from robot_firmware_bridge.robot import RobotDescription

FRAMES_PER_S = 30
# The numbers change so often that they can be read; windings get warm slowly.
_PANEL_S, _HEAT_S = 0.2, 1.0
# Browsers have so long to get the last state.
_LAST_S = 0.5
# Less than the control loop and the black box, which may be no more than ordinary processes.
_NICE = 10


class Page(viser.ViserServer):
    """A page for this computer and whom it is shown to; no detour through a server elsewhere."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Refuse what any browser may ask for: a tunnel that shows the robot to the world."""
        return None


class Viewer:
    """Shows the newest ticks on a page.

    Args:
        page: The page.
        ticks: Where the ticks are.
        notices: What the loop says beside them; kept up to date by somebody else.
        gone: Set once the control loop's process has ended or wants no view any more.
        robot: The robot.
        flat: Whether the ground is flat, if it is known where the robot is.
    """

    def __init__(
        self,
        page: Page,
        ticks: NewestTicks,
        notices: Notices,
        gone: threading.Event,
        robot: RobotDescription,
        flat: bool,
    ) -> None:
        self._page, self._ticks, self._notices, self._gone = page, ticks, notices, gone
        self._robot, self._flat = robot, flat
        page.gui.configure_theme(show_logo=False, show_share_button=False)
        page.gui.main_panel.dock_right()
        self._scene = Scene(page, robot)
        self._panel = page.gui.add_html(waiting(notices))
        self._first: NDArray[Any] | None = None
        self._count = 0
        self._new_at_s = time.monotonic()
        self._panel_at_s = self._heat_at_s = -math.inf

    def frame(self) -> None:
        """Draw the newest tick, if somebody looks."""
        count, now_s = self._ticks.count(), time.monotonic()
        if count != self._count:
            self._count, self._new_at_s = count, now_s
            if self._first is None:
                self._first = self._ticks.newest(count)[:1]
        if not self._page.get_clients():
            return
        with self._page.atomic():
            if self._first is not None:
                self._draw(self._first, now_s)
            if now_s - self._panel_at_s >= _PANEL_S or self._gone.is_set():
                self._panel_at_s = now_s
                self._panel.content = self._numbers(self._first, now_s - self._new_at_s)

    def _draw(self, first: NDArray[Any], now_s: float) -> None:
        tick = self._ticks.newest(1)[0]
        heading_rad = float(first[0]["rpy_rad"][2])
        if np.isfinite(tick["rpy_rad"]).all() and np.isfinite(tick["motor_position_rad"]).all():
            self._scene.show(Pose.of(tick, heading_rad, self._robot, self._flat))
        if now_s - self._heat_at_s >= _HEAT_S:
            self._heat_at_s = now_s
            self._scene.show_heat(tick["winding_temperature_c"])

    def _numbers(self, first: NDArray[Any] | None, silent_s: float) -> str:
        period_s = self._notices.period_s
        if first is None:
            return waiting(self._notices)
        window = self._ticks.newest(max(1, round(WINDOW_S / period_s)))
        now = figures(window, first, period_s)
        return panel(now, self._notices, self._robot, silent_s)

    def show(self) -> None:
        """Show frame after frame until the loop has ended, then the last state."""
        due_s = time.monotonic()
        while not self._gone.is_set():
            self.frame()
            due_s = max(due_s + 1.0 / FRAMES_PER_S, time.monotonic())
            time.sleep(max(0.0, due_s - time.monotonic()))
        self.frame()
        self._page.flush()


def listen(lines: Iterable[str], notices: Notices, gone: threading.Event) -> None:
    """Take what the loop says until it has ended; then end this process, whatever it is doing."""
    with contextlib.suppress(OSError):
        for line in lines:
            notices.take(json.loads(line))
    notices.over = True
    gone.set()
    time.sleep(_LAST_S)
    os._exit(0)


def view(ring: int, connection: socket.socket, host: str, port: int) -> None:
    """Show a run until it has ended.

    Raises:
        EOFError: The loop ended before it said what is in the ring.
    """
    lines = connection.makefile("r")
    hello = json.loads(lines.readline() or "null")
    if hello is None:
        raise EOFError("the control loop ended before it began")
    row = TickRow.of(hello["observation_size"], hello["action_size"])
    robot = RobotDescription.from_json(hello["robot"])
    notices = Notices()
    notices.take(hello["notices"])
    page = Page(host, port, label="minitaur", verbose=False)
    ticks, gone = NewestTicks(ring, hello["rows"], row), threading.Event()
    viewer = Viewer(page, ticks, notices, gone, robot, hello["flat"])
    threading.Thread(target=listen, args=(lines, notices, gone), daemon=True).start()
    connection.sendall(json.dumps({"port": page.get_port()}).encode() + b"\n")
    viewer.show()
    threading.Event().wait()  # until the listener ends this process


def main(arguments: list[str]) -> None:
    """Run the viewer: descriptors of ring and connection, host and port to listen on."""
    ring, connection, host, port = arguments
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    with socket.socket(fileno=int(connection)) as loop, contextlib.suppress(EOFError, OSError):
        view(int(ring), loop, host, int(port))


if __name__ == "__main__":
    main(sys.argv[1:])
