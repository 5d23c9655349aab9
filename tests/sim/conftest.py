"""What several tests of the simulation share."""

import shutil
import subprocess

import pytest
from support.processes import ROOT

from sim.model.minitaur import MODELS
from sim.plant.params import PlantParams
from sim.plant.registry import make_plant


@pytest.fixture(scope="module")
def body():
    """Return a plant, the same for all tests of a module."""
    plant = make_plant()
    yield plant
    plant.close()


@pytest.fixture
def plant(body):
    """Return the plant of ``body`` at the beginning of an episode without any variation."""
    body.reset(PlantParams())
    return body


@pytest.fixture(scope="module")
def plants():
    """Return a plant on each engine, by name, the same for all tests of a module."""
    made = {name: make_plant(name) for name in ("pybullet", "mujoco")}
    yield made
    for each in made.values():
        each.close()


@pytest.fixture(params=sorted(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of each model in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def firmware_image(tmp_path_factory):
    """Return the image for the Cortex-M4, built from what is here."""
    missing = [name for name in ("arm-none-eabi-gcc", "qemu-system-arm") if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    build = tmp_path_factory.mktemp("firmware")
    folder = ROOT / "robot_firmware_bridge" / "firmware"
    command = ["make", "-j2", "-C", str(folder), f"BUILD={build}"]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return build / "stm32f4.elf"
