"""The live view of whole runs: seen by browsers, and never in the way of a run or behind it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.processes import ROOT, has_ended, until

from robot_firmware_bridge.robot import MINITAUR

pytest.importorskip("viser", reason="the live view needs viser: pip install '.[view]'")

from bench.page_watcher import watch
from deploy.errors import RunError
from deploy.view.address import Address
from deploy.view.live_view import LiveView

# Of the robot's lid, in whatever light: more green and blue than red.
TEAL_EXCESS = 40


@pytest.fixture
def start(tmp_path):
    """Starts a run with a view on a free port; ends what is left of it."""
    children = []

    def start(*arguments, view=("127.0.0.1",), wait=True):
        report = tmp_path / "run.json"
        command = [sys.executable, "-m", "minitaur", "run", "--no-plot", "--report", str(report)]
        child = subprocess.Popen(
            [*command, *map(str, arguments), "--view", *view],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        children.append(child)
        if wait:
            child.line = child.stdout.readline()
            child.url = child.line.split()[1]
            child.port = int(child.url.rpartition(":")[2])
            (child.view,) = views_of(child.pid)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def recording(tmp_path):
    """Waits until a run writes ticks."""
    path = tmp_path / "run.mcap"
    return lambda: until(lambda: path.exists() and path.stat().st_size > 50_000)


def views_of(parent):
    """Numbers of the processes of a run that show it."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_child = int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            if is_child and b"deploy.view.viewer" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


@pytest.mark.timeout(400)
def test_a_browser_sees_the_robot_walk(start, browser, recording):
    child = start("--seconds", "600")
    recording()
    with browser.visit(child.url, 900, 600) as visit:
        until(lambda: teal_pixels(visit.picture()) > 60, patience_s=200.0)
        pixels = np.asarray(Image.open(visit.picture()).convert("RGB"), int)
        assert visit.requests() == []  # the page is whole: nothing is fetched, here or elsewhere
    scene = pixels[:, : pixels.shape[1] * 6 // 10]
    assert len(np.unique(scene.reshape(-1, 3), axis=0)) > 200


def teal_pixels(path):
    """How many pixels have the colour of the robot's lid, left of the numbers."""
    pixels = np.asarray(Image.open(path).convert("RGB"), int)
    red, green, blue = pixels[:, : pixels.shape[1] * 6 // 10].transpose(2, 0, 1)
    return int(((green - red > TEAL_EXCESS) & (blue - red > TEAL_EXCESS)).sum())


def test_the_page_follows_the_ticks(start, recording):
    child = start("--seconds", "300")
    recording()
    words = ("run walk", "wake-up late", "peak torque", "+1.30 m/s")

    def follows():
        seen = watch("127.0.0.1", child.port, 3.0)
        return seen.frames >= 2 and all(word in seen.panel for word in words)

    until(follows)


def test_a_view_that_is_killed_takes_nothing_with_it(start, recording, tmp_path):
    child = start("--seconds", "2")
    recording()
    os.kill(child.view, signal.SIGKILL)
    _, errors = child.communicate()
    assert child.returncode == 0
    assert "the view ended before the run did (exit -9)\n" in errors
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["faults"] == []
    assert report["seconds"] == pytest.approx(2.0, abs=0.01)


def test_a_view_that_hangs_takes_nothing_with_it(start, recording):
    child = start("--seconds", "2")
    recording()
    os.kill(child.view, signal.SIGSTOP)
    child.communicate()
    assert child.returncode == 0
    assert has_ended(child.view)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_run_that_is_killed_takes_its_view_with_it(start, recording, at_once):
    child = start("--seconds", "300")
    if not at_once:
        recording()
    child.kill()
    until(lambda: has_ended(child.view))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 130)])
def test_a_signal_of_the_terminal_ends_run_and_view(start, recording, number, code):
    """It goes to every process of the terminal; the view leaves its end to the run."""
    child = start("--seconds", "300")
    recording()
    os.killpg(child.pid, number)
    child.communicate()
    assert child.returncode == code
    until(lambda: has_ended(child.view))


def test_a_taken_port_ends_the_run_before_it_began(start, tmp_path):
    first = start("--seconds", "300")
    second = start(view=(f"127.0.0.1:{first.port}",), wait=False)
    out, errors = second.communicate()
    assert second.returncode == 2
    assert out == ""
    assert errors.startswith(f"error: --view: port {first.port} is in use: ")
    assert errors.count("\n") == 1


def test_whoever_shows_it_to_everyone_is_told_so(start):
    child = start("--seconds", "1", view=("0.0.0.0",))
    child.communicate()
    assert child.returncode == 0
    assert child.line.endswith(" (everyone on the network sees it)\n")
    assert "127.0.0.1" not in child.url


def test_a_page_that_does_not_come_up_is_one_line_and_leaves_nothing(box, tmp_path, monkeypatch):
    """As with a package that is broken."""
    (tmp_path / "viser.py").write_text("raise RuntimeError('broken')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    before = views_of(os.getpid())
    with pytest.raises(RunError, match=r"^--view: the page did not come up: try .*$"):
        LiveView(Address(), box, MINITAUR, kind="sim", policies=["x"], dry_run=False, flat=True)
    assert views_of(os.getpid()) == before
