"""A film of a run, drawn afterwards from the trace that the simulated robot kept.

Drawing takes tens of milliseconds a frame, so it never happens while a loop runs.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robot_firmware_bridge.command_line import cure
from sim.errors import SimError
from sim.model.minitaur import DEFAULT_MODEL
from sim.robot import Frame

SUFFIXES = (".mp4", ".gif")


class VideoError(SimError):
    """A film cannot be made."""


def check(path: Path) -> None:
    """Refuse what :func:`render` could not write, before the run that it would show.

    Raises:
        VideoError: Another format, or the packages to write it are not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise VideoError(f"video {path} must end in one of {', '.join(SUFFIXES)}")
    writer = "imageio_ffmpeg" if path.suffix.lower() == ".mp4" else "PIL"
    for package in ("pybullet", "imageio", writer):
        if importlib.util.find_spec(package) is None:
            raise VideoError(f"a video needs {package}: {cure(package)}")


def render(
    trace: Sequence[Frame],
    path: Path,
    *,
    model: str = DEFAULT_MODEL,
    width: int = 480,
    height: int = 270,
) -> None:
    """Draw a trace and write it as MP4 (H.264) or GIF, by the path's suffix, at its own speed.

    Raises:
        VideoError: See :func:`check`; or the trace is shorter than two frames.
    """
    check(path)
    if len(trace) < 2:
        raise VideoError("a film needs two frames or more; the run was too short")
    import imageio.v2 as imageio  # an optional package, and seconds to import

    from sim.view.scene import Scene

    fps = (len(trace) - 1) / ((trace[-1].t_ns - trace[0].t_ns) / 1e9)
    gif = path.suffix.lower() == ".gif"
    options: dict[str, Any] = {"loop": 0, "duration": 1e3 / fps}
    if not gif:
        options = {"fps": fps, "macro_block_size": 2}  # H.264 needs even sides only
    path.parent.mkdir(parents=True, exist_ok=True)
    scene = Scene(model)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        whole = Path(scratch) / path.name
        try:
            writer: Any
            with imageio.get_writer(whole, **options) as writer:
                for frame in trace:
                    scene.show(frame.position_m, frame.quaternion, frame.joint_positions)
                    writer.append_data(scene.camera(width, height))
        finally:
            scene.close()
        os.replace(whole, path)
