"""Plants by name, and that no engine is imported before one is asked for."""

import pytest
from support.processes import run_python

from sim.errors import SimError
from sim.plant.registry import make_plant


def test_importing_the_plant_imports_no_engine():
    script = (
        "import importlib, pkgutil, sys, sim.plant\n"
        "for module in pkgutil.iter_modules(sim.plant.__path__, 'sim.plant.'):\n"
        "    importlib.import_module(module.name)\n"
        "known = {'pybullet', 'mujoco', 'sim.engines', 'sim.view', 'sim.board'}\n"
        "print(sorted(known & set(sys.modules)))\n"
    )
    done = run_python("-c", script)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    "options", [{"name": "moon"}, {"model": "spot"}, {"name": "mujoco", "model": "spot"}]
)
def test_an_unknown_name_is_refused_with_the_known_ones(options):
    with pytest.raises(SimError, match=r"minitaur_rainbow_dash|pybullet, mujoco"):
        make_plant(**options)
