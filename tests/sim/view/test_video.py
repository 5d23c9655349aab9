"""Films: made from a trace, refused in one line before the run where they cannot be."""

from __future__ import annotations

import dataclasses
import importlib.util

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageSequence

from robot_firmware_bridge.robot import MINITAUR
from sim.robot import Frame
from sim.view import video

STANCE = np.concatenate((MINITAUR.stance_pose_rad * MINITAUR.directions, np.full(8, -2.0)))


def trace(frames):
    return [
        Frame(
            t_ns=k * 100_000_000,
            position_m=np.array((0.2 * k, 0.0, 0.25)),
            quaternion=np.array((0.0, 0.0, 0.0, 1.0)),
            joint_positions=STANCE,
        )
        for k in range(frames)
    ]


def test_a_trace_becomes_a_gif(tmp_path):
    path = tmp_path / "films" / "run.gif"
    video.render(trace(4), path, height=54)
    with Image.open(path) as film:
        assert (film.size, film.n_frames, film.info["duration"]) == ((96, 54), 4, 100)
        pictures = [np.asarray(frame.convert("L"), float) for frame in ImageSequence.Iterator(film)]
    assert np.ptp(pictures[0]) > 50.0  # something is in it
    assert np.abs(pictures[0] - pictures[2]).max() > 20.0  # and it moves
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_trace_becomes_an_mp4_of_its_own_speed(tmp_path):
    path = tmp_path / "run.mp4"
    video.render(trace(4), path, height=54)
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(path)
    assert (frames, seconds) == (4, pytest.approx(0.4, abs=0.01))


def test_every_picture_has_its_time_and_the_speed_along_the_heading():
    """0.2 m in 0.1 s along x: all of it ahead, or none, by where the body looks."""
    frames = trace(8)
    texts = [text for text, _ in video._texts(frames, lambda t_ns: f"{t_ns / 1e9:.1f} s")]
    assert texts[0] == "0.0 s"
    assert texts[1:] == [f"{k / 10:.1f} s  speed +2.00 m/s" for k in range(1, 8)]
    left = np.array((0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)))
    turned = [dataclasses.replace(frame, quaternion=left) for frame in frames]
    assert video._texts(turned, str)[7][0] == "700000000  speed +0.00 m/s"


@pytest.mark.parametrize(
    ("force", "side"),
    [
        ((130.0, 0.0, 0.0), "behind"),
        ((-130.0, 10.0, 0.0), "ahead"),
        ((5.0, 130.0, 0.0), "the right"),
        ((0.0, -130.0, 0.0), "the left"),
    ],
)
def test_a_push_stays_in_the_picture_for_half_a_second(force, side):
    frames = trace(12)
    frames[3] = dataclasses.replace(frames[3], push_n=np.array(force))
    pushes = [push for _, push in video._texts(frames, str)]
    shown = f"push 130 N from {side}"
    assert pushes == [""] * 3 + [shown] * 6 + [""] * 3


def test_the_caption_is_in_the_picture(tmp_path):
    pictures = []
    for text in ("run 1.0 s", "run 2.0 s"):
        video.render(trace(2), tmp_path / "run.gif", height=180, caption=lambda _, text=text: text)
        with Image.open(tmp_path / "run.gif") as film:
            pictures.append(np.asarray(film.convert("L"), float))
    differs = np.abs(pictures[0] - pictures[1]) > 60.0
    assert differs[:20].sum() > 5
    assert not differs[20:].any()


def test_another_format_is_refused(tmp_path):
    with pytest.raises(video.VideoError, match=r"must end in one of \.mp4, \.gif"):
        video.check(tmp_path / "run.avi")


def test_a_single_frame_is_no_film(tmp_path):
    with pytest.raises(video.VideoError, match="two frames or more"):
        video.render(trace(1), tmp_path / "run.gif")


@pytest.mark.parametrize(("package", "extra"), [("imageio", "plot"), ("pybullet", "sim")])
def test_a_missing_package_is_named(package, extra, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else found(name)
    )
    with pytest.raises(video.VideoError, match=rf"needs {package}: pip install '\.\[{extra}\]'"):
        video.check(tmp_path / "run.mp4")
