"""The floor holds: a robot computer needs neither torch nor physics nor a plotting library."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

FORBIDDEN = [
    "torch",
    "pybullet",
    "mujoco",
    "gymnasium",
    "onnx",
    "matplotlib",
    "bokeh",
    "imageio",
    "PIL",
    "sim",
    "training",
]


def run_fresh(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.split()


def test_the_run_command_imports_nothing_from_above_its_floor():
    code = (
        "import sys, deploy.run; "
        f"print(*sorted(set({FORBIDDEN!r}) & {{name.split('.')[0] for name in sys.modules}}))"
    )
    assert run_fresh(code) == []


def test_it_runs_where_none_of_them_can_be_imported(write_policy, tmp_path):
    """On such a computer the policy loads, and ROBOT=sim is refused in one line."""
    code = f"""
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {FORBIDDEN!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from deploy import run
from deploy.policy.onnx_policy import OnnxPolicy
OnnxPolicy.load({str(write_policy())!r})
sys.stderr = sys.stdout
code = run.main(["--policy", {str(write_policy())!r}, "--report", {str(tmp_path / "r.json")!r}])
print("exit", code)
"""
    printed = " ".join(run_fresh(code))
    assert printed.startswith("error: ROBOT=sim needs ")
    assert printed.endswith("pip install '.[sim]' exit 2")
