"""Pictures anywhere in the world, and windows: opened in silence, or refused in one line."""

import shutil
import subprocess

import numpy as np
import pytest
from support.processes import run_python

from robot_firmware_bridge.robot import MINITAUR
from sim.plant.params import PlantParams
from sim.view.scene import Scene

STANCE = np.concatenate((MINITAUR.stance_pose_rad * MINITAUR.directions, np.full(8, -2.0)))
UPRIGHT = np.array((0.0, 0.0, 0.0, 1.0))
WINDOW = (
    "from sim.errors import SimError\n"
    "from sim.plant.registry import make_plant\n"
    "try:\n"
    "    plant = make_plant(gui=True)\n"
    "    plant.advance(100)\n"
    "    plant.close()\n"
    "    print('shown')\n"
    "except SimError as error: print(error)\n"
)


@pytest.fixture(scope="module")
def scene():
    scene = Scene()
    yield scene
    scene.close()


@pytest.mark.parametrize("far", [(40.0, -6.0), (200.0, 0.0), (-5760.0, 5760.0)])
def test_a_picture_far_away_is_the_one_at_the_origin(scene, far):
    """The same squares of the floor, the same shadow, wherever a run of an hour ends."""
    pictures = []
    for x, y in ((0.3, -0.2), np.add((0.3, -0.2), far)):
        scene.show(np.array((x, y, 0.2)), UPRIGHT, STANCE)
        pictures.append(scene.camera(160, 90).astype(int))
    assert pictures[0].std() > 15.0
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.1


def test_the_floor_passes_under_a_robot_that_walks(scene):
    pictures = []
    for x in (0.0, 0.5, 1.0):
        scene.show(np.array((x, 0.0, 0.2)), UPRIGHT, STANCE)
        pictures.append(scene.camera(160, 90).astype(int))
    assert np.abs(pictures[0] - pictures[1]).mean() > 5.0
    assert np.abs(pictures[1] - pictures[2]).mean() > 5.0


@pytest.mark.parametrize(
    "params",
    [
        {"block_height_m": 0.03},
        {"wave_height_m": 0.04},
        {"stair_rise_m": 0.02},
        {"patch_friction_scale": 0.25},
    ],
)
def test_a_picture_shows_what_lies_on_the_floor(scene, params):
    pictures = []
    for ground in ({}, params, {}):
        scene.show(np.array((1.3, 0.0, 0.2)), UPRIGHT, STANCE)
        scene.show_ground(PlantParams(**ground))
        pictures.append(scene.camera(160, 90).astype(int))
    assert np.abs(pictures[0] - pictures[1]).mean() > 5.0
    assert (pictures[0] == pictures[2]).all()


@pytest.fixture
def display():
    """Start an X server; return how to start one, and end them all."""
    if not shutil.which("Xvfb"):
        pytest.skip("no Xvfb")
    servers = []

    def start(*options):
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", "1", "-screen", "0", "640x480x24", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        servers.append(server)
        return f":{server.stdout.readline().strip()}"

    yield start
    for server in servers:
        server.terminate()
        server.wait()
        server.stdout.close()


def test_a_window_opens_without_a_word(display):
    done = run_python("-c", WINDOW, DISPLAY=display())
    assert (done.stdout, done.stderr, done.returncode) == ("shown\n", "", 0)


def test_a_display_that_cannot_draw_is_refused(display):
    """Bullet would end the process there by exit(0): a good run, by the look of it."""
    done = run_python("-c", WINDOW, DISPLAY=display("-extension", "GLX"))
    assert "no window can be opened on :" in done.stdout
    assert "Error in gladLoadGLX" in done.stdout
    assert (done.stdout.count("\n"), done.stderr, done.returncode) == (1, "", 0)


@pytest.mark.parametrize(
    ("before", "display_name", "message"),
    [
        ("import torch", ":4077", "on :4077: cannot connect to X server"),
        ("", "", "DISPLAY is not set"),
    ],
)
def test_a_display_that_is_not_there_is_refused_beside_torch_too(before, display_name, message):
    done = run_python("-c", f"{before}\n{WINDOW}", DISPLAY=display_name)
    assert message in done.stdout
    assert (done.stdout.count("\n"), done.stderr, done.returncode) == (1, "", 0)
