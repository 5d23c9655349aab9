"""The description files of this repository say what PyBullet's own say."""

import numpy as np
import pytest
from support.processes import run_python

from sim.model.derive import data_folder, derive, with_right_angles
from sim.model.link_tree import PACKAGE_SCHEME, ModelError
from sim.model.minitaur import MODELS, load_tree
from sim.model.tree_file import read_tree
from sim.model.urdf import parse_urdf


def values(part):
    """All numbers and names of a tree or of a part of it, exactly; a mesh by its last name."""
    if hasattr(part, "tobytes"):
        return part.shape, part.tobytes()
    if isinstance(part, tuple | list):
        return tuple(map(values, part))
    if isinstance(part, str) and part.endswith(".obj"):
        return part.rpartition("/")[2]
    if hasattr(part, "__dataclass_fields__"):
        return tuple(values(getattr(part, name)) for name in part.__dataclass_fields__)
    return part


@pytest.mark.parametrize("name", MODELS)
def test_deriving_again_gives_the_same_bytes(name):
    model = MODELS[name]
    assert model.path.read_bytes() == derive(model.file).encode()


@pytest.mark.parametrize("name", MODELS)
def test_the_tree_is_that_of_the_original_bit_for_bit_but_for_right_angles(name):
    mine, theirs = load_tree(name, merged=False), parse_urdf(data_folder() / MODELS[name].file)
    assert values(mine) == values(with_right_angles(theirs))
    assert values(mine.links) == values(theirs.links)
    assert len(mine.links) == len(theirs.links) > 25
    assert sum(link.mass for link in mine.links) > 5.0


@pytest.mark.parametrize("name", MODELS)
def test_a_right_angle_is_exact_and_no_other_angle_is_touched(name):
    mine, theirs = load_tree(name, merged=False), parse_urdf(data_folder() / MODELS[name].file)
    turned = 0
    for joint, original in zip(mine.joints, theirs.joints, strict=True):
        rotation, before = joint.origin.rotation, original.origin.rotation
        right = np.isin(rotation, (-1.0, 0.0, 1.0)).all()
        assert right or (rotation == before).all()
        assert np.abs(rotation - before).max() < 5e-5  # the file writes 1.57075 rad
        turned += not (rotation == before).all()
    assert turned >= 8


@pytest.mark.parametrize("name", MODELS)
def test_its_meshes_are_named_by_their_package_and_are_there(name):
    shapes = [shape for link in load_tree(name, merged=False).links for shape in link.visuals]
    meshes = {shape.geometry.mesh for shape in shapes} - {None}
    assert meshes == {f"{PACKAGE_SCHEME}pybullet_data/quadruped/tmotor3.obj"}
    assert (data_folder() / "quadruped/tmotor3.obj").is_file()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"links": [{}], "joints": []}'])
def test_a_damaged_description_names_its_file(tmp_path, text):
    path = tmp_path / "robot.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"robot\.json: not a whole description of a robot"):
        read_tree(path)


WITHOUT_PYBULLET = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("pybullet", "pybullet_data"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: (
    None if name.partition(".")[0] in ("pybullet", "pybullet_data") else found(name, *rest)
)
"""


def test_without_pybullet_mujoco_simulates_and_says_so():
    script = WITHOUT_PYBULLET + (
        "from sim.plant.registry import make_plant\n"
        "from sim.plant.params import PlantParams\n"
        "plant = make_plant()\n"
        "plant.reset(PlantParams())\n"
        "print(type(plant.engine).__name__, round(plant.engine.mass_kg, 3))\n"
    )
    done = run_python("-c", script)
    assert done.stdout == "MujocoEngine 7.473\n", done.stderr
    assert done.stderr.startswith("MuJoCo simulates; PyBullet is not here: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("make", "error"),
    [
        ("make_plant('mujoco', gui=True)", "this needs pybullet: "),
        ("make_plant('pybullet')", "the plant pybullet needs PyBullet: "),
    ],
)
def test_what_pybullet_draws_or_simulates_names_it_in_one_line(make, error):
    script = WITHOUT_PYBULLET + (
        "from robot_firmware_bridge.command_line import command\n"
        "from sim.plant.registry import make_plant\n"
        f"sys.exit(command(lambda: {make})())\n"
    )
    done = run_python("-c", script)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {error}")
    assert done.stderr.count("\n") == 1


def test_no_command_needs_pybullet_before_it_simulates():
    script = WITHOUT_PYBULLET + (
        "import importlib\n"
        "from minitaur.cli import COMMANDS\n"
        "for module, _ in COMMANDS.values(): importlib.import_module(module)\n"
        "import sim.view.video, training.runs.trainer\n"
    )
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr


def test_an_environment_steps_without_pybullet():
    script = WITHOUT_PYBULLET + (
        "import gymnasium, numpy, training.tasks\n"
        "env = gymnasium.make('MinitaurStack/Trot-v0', plant='mujoco')\n"
        "env.reset(seed=1)\n"
        "print(numpy.isfinite(env.step(numpy.zeros(8, numpy.float32))[1]))\n"
    )
    assert run_python("-c", script).stdout == "True\n"
