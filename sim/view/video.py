"""A film of a run, drawn afterwards from the trace that the simulated robot kept.

Drawing takes tens of milliseconds a frame, so it never happens while a loop runs.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from robot_firmware_bridge.command_line import cure
from robot_firmware_bridge.geometry import rotation_from_quaternion
from sim.errors import SimError
from sim.model.minitaur import DEFAULT_MODEL
from sim.plant.params import PlantParams
from sim.robot import Frame

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

# Time over which the speed in the caption is a mean, and for which a push stays in the caption.
_SPEED_S = 0.5
_PUSH_SHOWN_S = 0.5
_INK, _RED, _PAPER = (20, 20, 20), (200, 30, 20), (255, 255, 255)

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
    needed = ["pybullet", "imageio", "PIL"]
    if path.suffix.lower() == ".mp4":
        needed.append("imageio_ffmpeg")
    for package in needed:
        if importlib.util.find_spec(package) is None:
            raise VideoError(f"a video needs {package}: {cure(package)}")


def render(
    trace: Sequence[Frame],
    path: Path,
    *,
    model: str = DEFAULT_MODEL,
    ground: PlantParams | None = None,
    height: int = 360,
    caption: Callable[[int], str] | None = None,
) -> None:
    """Draw a trace and write it as MP4 (H.264) or GIF, by the path's suffix, at its own speed.

    Every picture has a line of text: the caption, the speed along the body's heading, and pushes.
    On a terminal a bar on stderr shows how much is drawn.

    Args:
        trace: Poses at equal distances in time.
        path: Where to write the film.
        model: The robot to draw, a name in ``sim.model.minitaur.MODELS``.
        ground: Parameters of the plant, for what it walks on; a flat floor if left out.
        height: Rows of a picture; 16 columns to 9 rows, both made even.
        caption: Text for a time in ns of the trace's clock; the time itself if left out.

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
    width, height = 2 * round(height * 8 / 9), 2 * round(height / 2)
    texts = _texts(trace, caption or (lambda t_ns: f"{t_ns / 1e9:5.1f} s"))
    font = _font(height)
    path.parent.mkdir(parents=True, exist_ok=True)
    ground = ground or PlantParams()
    console = Console(stderr=True)
    frames = track(
        list(zip(trace, texts, strict=True)),
        "drawing",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    scene = Scene(model)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        whole = Path(scratch) / path.name
        try:
            writer: Any
            with imageio.get_writer(whole, **options) as writer:
                for frame, (text, push) in frames:
                    scene.show(frame.position_m, frame.quaternion, frame.joint_positions)
                    scene.show_ground(ground)
                    writer.append_data(_captioned(scene.camera(width, height), text, push, font))
        finally:
            scene.close()
        os.replace(whole, path)


def _texts(trace: Sequence[Frame], caption: Callable[[int], str]) -> list[tuple[str, str]]:
    """Return the text of every frame, and that of a push that is not long ago."""
    heading = np.array([rotation_from_quaternion(frame.quaternion)[:2, 0] for frame in trace])
    moved = np.diff([frame.position_m[:2] for frame in trace], axis=0)
    forward_m = np.concatenate(((0.0,), np.cumsum((moved * heading[:-1]).sum(axis=1))))
    t_s = np.array([frame.t_ns for frame in trace]) / 1e9
    texts, push, pushed_s = [], "", -np.inf
    for index, frame in enumerate(trace):
        since = int(np.searchsorted(t_s, t_s[index] - _SPEED_S - 1e-9))
        text = caption(frame.t_ns)
        if since < index:
            speed_mps = (forward_m[index] - forward_m[since]) / (t_s[index] - t_s[since])
            text += f"  speed {speed_mps:+z.2f} m/s"
        if frame.push_n is not None:
            push, pushed_s = _push(frame), t_s[index]
        texts.append((text, push if t_s[index] - pushed_s <= _PUSH_SHOWN_S else ""))
    return texts


def _push(frame: Frame) -> str:
    """Return the size of a push, and where it comes from as the robot sees it."""
    if frame.push_n is None:
        return ""
    ahead, left, _ = rotation_from_quaternion(frame.quaternion).T @ frame.push_n
    sides = ("behind", "the right", "ahead", "the left")
    side = sides[round(float(np.arctan2(left, ahead)) / (np.pi / 2)) % 4]
    return f"push {np.linalg.norm(frame.push_n):.0f} N from {side}"


def _font(height: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(max(10, height // 22))


def _captioned(
    picture: NDArray[np.uint8], text: str, push: str, font: FreeTypeFont | ImageFont
) -> NDArray[np.uint8]:
    """Return a picture with a text at the top left, and one of a push at the top right."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    rows, columns = picture.shape[:2]
    margin = rows // 40
    draw.rectangle((0, 0, columns, 2 * margin + rows // 18), fill=_PAPER)
    draw.text((margin, margin), text, fill=_INK, font=font)
    draw.text((columns - margin, margin), push, fill=_RED, font=font, anchor="ra")
    return np.asarray(image)
