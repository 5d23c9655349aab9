"""All of this folder again with every memory access checked, and no line of the core left out."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from support.processes import run_python

from robot_firmware_bridge.firmware.library import build_library
from robot_firmware_bridge.firmware.tools import fuzz
from robot_firmware_bridge.firmware.tools.generate import CORE

HERE = Path(__file__).parent
# Not again: this file, and what tests the build and not what was built.
ELSEWHERE = ("test_checked.py", "test_generate.py", "test_library.py")
NO_PLUGINS = ("-p", "no:xdist", "-p", "no:cacheprovider")
SANITIZE = "address,undefined"


def executions(notes: Path, data: Path) -> dict[str, dict[int, int]]:
    """Executions per file and line, by gcov."""
    for note in notes.glob("*.gcno"):
        shutil.copy(note, data)
    counted = subprocess.run(
        ["gcov", "--json-format", "--stdout", *sorted(p.name for p in data.glob("*.gcda"))],
        cwd=data,
        capture_output=True,
        text=True,
        check=True,
    )
    counts: dict[str, dict[int, int]] = {}
    for report in map(json.loads, counted.stdout.splitlines()):
        for file in report["files"]:
            lines = counts.setdefault(file["file"], {})
            for line in file["lines"]:
                number = line["line_number"]
                lines[number] = lines.get(number, 0) + line["count"]
    return counts


@pytest.mark.timeout(600)  # 15 s of work; a shared machine may take its time
@pytest.mark.skipif(shutil.which("gcov") is None, reason="gcov is not installed")
def test_everything_under_sanitizers_and_every_line_of_the_core(tmp_path):
    library = build_library(sanitize=SANITIZE, coverage=True)
    environment = fuzz.address_checked() | {
        "FIRMWARE_SANITIZE": SANITIZE,
        "FIRMWARE_COVERAGE": "1",
        "GCOV_PREFIX": str(tmp_path),
        "GCOV_PREFIX_STRIP": "99",
    }
    skip = [f"--ignore={HERE / name}" for name in ELSEWHERE]
    child = run_python("-m", "pytest", "-q", *NO_PLUGINS, *skip, HERE, **environment)
    assert child.returncode == 0, child.stdout[-4000:] + child.stderr[-4000:]

    counts = executions(library.parent, tmp_path)
    sources = sorted(CORE.glob("*.c"))
    assert {str(path) for path in sources} <= counts.keys()
    missed = [
        f"{path.name}:{number}: {path.read_text().splitlines()[number - 1]}"
        for path in sources
        for number, count in counts[str(path)].items()
        if count == 0
    ]
    assert missed == []


def test_the_sanitizer_sees_a_write_past_the_end(tmp_path):
    script = (
        "import ctypes, sys\n"
        "from pathlib import Path\n"
        "from robot_firmware_bridge.firmware.library import load\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "load(Path(sys.argv[1])).probe_decoder_counters(libc.malloc(4))  # writes 12 bytes\n"
    )
    library = build_library(sanitize=SANITIZE, coverage=True)
    environment = fuzz.address_checked() | {"GCOV_PREFIX": str(tmp_path)}
    done = run_python("-c", script, library, **environment)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


def test_the_command_line_prints_a_summary():
    module = "robot_firmware_bridge.firmware.tools.fuzz"
    done = run_python("-m", module, "--bytes", 20_000, "--seed", 3, "--sanitize")
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert "Python and C agree under sanitizers" in done.stdout
