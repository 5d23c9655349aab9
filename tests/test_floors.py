"""The floors hold for modules that are named in strings, too: processes are started by name."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What each floor may start or import; see docs/architecture.md.
BELOW = {
    "minitaur": {"studies", "hil", "training", "sim", "deploy", "robot_firmware_bridge"},
    "robot_firmware_bridge": set(),
    "sim": {"robot_firmware_bridge"},
    "deploy": {"robot_firmware_bridge"},
    "training": {"sim", "deploy", "robot_firmware_bridge"},
    "hil": {"sim", "deploy", "robot_firmware_bridge"},
    "studies": {"training", "sim", "deploy", "robot_firmware_bridge"},
}
MODULE = re.compile(rf"({'|'.join(BELOW)})(\.\w+)+(:\w+)?")


def named_modules(path):
    """Modules of this stack that a file names in a string, whole."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value.partition(":")[0]
            file = ROOT / text.replace(".", "/")
            if MODULE.fullmatch(node.value) and (file.is_dir() or file.with_suffix(".py").exists()):
                yield text


@pytest.mark.parametrize("floor", BELOW)
def test_a_floor_names_only_itself_and_floors_below(floor):
    found = {name for path in (ROOT / floor).rglob("*.py") for name in named_modules(path)}
    above = {name for name in found if name.partition(".")[0] not in BELOW[floor] | {floor}}
    assert not above


def test_the_names_are_found():
    """Otherwise the test above would pass on nothing."""
    assert "sim.board" in set(named_modules(ROOT / "sim" / "board" / "process.py"))
    named = {name for path in (ROOT / "hil").rglob("*.py") for name in named_modules(path)}
    assert {"sim.board", "sim.board.qemu", "deploy.run"} <= named
