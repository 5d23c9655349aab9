"""What several tests of the simulation share."""

import shutil
import subprocess
from pathlib import Path

import pytest

_FIRMWARE = Path(__file__).parents[2] / "robot_firmware_bridge" / "firmware"


@pytest.fixture(scope="session")
def firmware_image(tmp_path_factory):
    """The image for the Cortex-M4, built from what is here."""
    missing = [name for name in ("arm-none-eabi-gcc", "qemu-system-arm") if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    build = tmp_path_factory.mktemp("firmware")
    command = ["make", "-j2", "-C", str(_FIRMWARE), f"BUILD={build}"]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return build / "stm32f4.elf"
