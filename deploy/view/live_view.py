"""The loop's side of the live view: starts its process, and tells it what the ticks do not say.

The ticks themselves are in the ring that the black box fills; the view only reads there. So a tick
costs the loop the same with the view and without it, but for a comparison and, once a second, a
line with the counters of the link. A view that hangs or dies costs the run nothing.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from deploy.errors import RunError
from deploy.loop.loop import ControlLoop, Tick
from deploy.record.black_box import BlackBox
from deploy.record.line_sender import LineSender, start_beside
from deploy.view.address import Address
from robot_firmware_bridge.robot import RobotDescription

# How long a run waits for the page to be there, before it opens the robot, and for its end.
_START_S, _END_S = 60.0, 3.0


class LiveView:
    """Shows a run to browsers. An observer of the loop; see also ``deploy.view.viewer``.

    Args:
        address: Where to listen.
        box: The black box of the run.
        robot: The robot.
        kind: Kind of the robot, as ``--robot`` names it.
        policies: Names of the policies.
        dry_run: Nothing will be energised.
        flat: The ground is flat, as far as anybody knows.

    Attributes:
        address: Where it listens.

    Raises:
        RunError: The address cannot be listened on, or the page does not come up.
    """

    def __init__(
        self,
        address: Address,
        box: BlackBox,
        robot: RobotDescription,
        *,
        kind: str,
        policies: Sequence[str],
        dry_run: bool,
        flat: bool,
    ) -> None:
        address = address.free()
        self._loop: ControlLoop | None = None
        self._counters: Callable[[], dict[str, int]] | None = None
        self._every, self._faults, self._reaction = 1, 0, ""
        # Its errors are of browsers that come and go.
        self._process, self._socket = start_beside(
            "deploy.view.viewer",
            box.ring,
            *(address.host, str(address.port)),
            stderr=subprocess.DEVNULL,
        )
        self._lines = LineSender(self._socket)
        hello = {
            "rows": box.rows,
            "observation_size": box.row.observation_size,
            "action_size": box.row.action_size,
            "robot": robot.to_json(),
            "flat": flat,
            "notices": {"kind": kind, "policies": list(policies), "dry_run": dry_run},
        }
        try:
            self.address = dataclasses.replace(address, port=self._greet(hello))
        except BaseException:
            self._process.kill()
            self._process.wait()
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def _greet(self, hello: dict[str, Any]) -> int:
        """Say what there is to see, and return the port once the page is there."""
        self._socket.settimeout(_START_S)
        answer = b""
        try:
            self._socket.sendall(json.dumps(hello).encode() + b"\n")
            while not answer.endswith(b"\n"):
                part = self._socket.recv(4096)
                if not part:
                    break
                answer += part
        except OSError:
            answer = b""
        if not answer:
            raise RunError(
                "--view: the page did not come up: try `python -c 'import viser'`, or leave the "
                "view out"
            )
        return int(json.loads(answer)["port"])

    @property
    def pid(self) -> int:
        """Number of the view's process."""
        return self._process.pid

    def begin(
        self, loop: ControlLoop, period_s: float, counters: Callable[[], dict[str, int]] | None
    ) -> None:
        """Tell the view about the loop that is to run.

        Args:
            loop: The loop.
            period_s: Control period.
            counters: Of the link; None without one.
        """
        self._loop, self._counters = loop, counters
        self._every = max(1, round(1.0 / period_s))
        self._lines.send({"period_s": period_s})

    def __call__(self, tick: Tick) -> None:
        """Tell what the row of this tick does not say, if it is new; never waits."""
        if tick.reaction != self._reaction:
            self._reaction = tick.reaction
            self._lines.send({"reaction": tick.reaction})
        if self._loop is not None and len(self._loop.faults) != self._faults:
            self._faults = len(self._loop.faults)
            self._lines.send(_faults(self._loop))
        if self._counters is not None and tick.ticks % self._every == 0:
            self._lines.send({"counters": self._counters()})

    def end(self, loop: ControlLoop) -> None:
        """Tell that the loop is over, and why."""
        self._lines.send({"over": True, **_faults(loop)})

    def close(self) -> None:
        """End the view, and say so if it ended before. Idempotent."""
        code = self._process.poll()
        if code is not None and self._socket.fileno() >= 0:
            print(f"the view ended before the run did (exit {code})", file=sys.stderr)
        self._socket.close()  # the end of the connection is the end of the view
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _faults(loop: ControlLoop) -> dict[str, list[str]]:
    return {"faults": [fault.detail for fault in loop.faults]}
