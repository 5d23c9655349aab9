"""In a process with a decimal comma, every engine reads the numbers that are written."""

import locale

import pytest
from support.processes import run_python

from sim.engines.c_locale import decimal_points
from sim.model.link_tree import ModelError, check_mass
from sim.model.minitaur import DEFAULT_MODEL, load_tree

_SCRIPT = """
import locale, sys
import numpy as np
if sys.argv[1]:
    locale.setlocale(locale.LC_ALL, sys.argv[1])
    assert locale.localeconv()["decimal_point"] == ","
from sim.plant.registry import make_plant
from training.tasks.pendulum import InvertedPendulum
for name in ("pybullet", "pybullet-full", "pybullet-duck", "mujoco"):
    plant = make_plant(name)
    plant.advance(50)
    print(name, plant.engine.mass_kg, plant.truth(), plant.engine.load)
    picture = plant.camera(64, 36)
    print(picture.sum())
    plant.close()
env = InvertedPendulum()
env.reset(seed=1)
print([env.step(np.ones(1, np.float32))[0].tolist() for _ in range(5)])
if sys.argv[1]:
    assert locale.setlocale(locale.LC_NUMERIC) == sys.argv[1]
"""


def test_a_decimal_comma_changes_no_bit(comma_locale):
    name, environment = comma_locale
    plain = run_python("-c", _SCRIPT, "")
    comma = run_python("-c", _SCRIPT, name, **environment)
    assert (plain.stderr, comma.stderr) == ("", "")
    assert "7.4699" in plain.stdout or "7.47" in plain.stdout
    assert comma.stdout == plain.stdout


def test_the_locale_comes_back_whatever_happens():
    before = locale.setlocale(locale.LC_NUMERIC)
    with pytest.raises(ZeroDivisionError), decimal_points():
        raise ZeroDivisionError
    assert locale.setlocale(locale.LC_NUMERIC) == before


def test_two_threads_leave_the_locale_as_it_was(comma_locale):
    """Without a lock one of two would take the other's C for the locale to go back to."""
    name, environment = comma_locale
    script = (
        "import locale, sys, threading\n"
        "from sim.engines.c_locale import decimal_points\n"
        "locale.setlocale(locale.LC_NUMERIC, sys.argv[1])\n"
        "sys.setswitchinterval(1e-6)\n"
        "def read():\n"
        "    for _ in range(300):\n"
        "        with decimal_points(): assert locale.localeconv()['decimal_point'] == '.'\n"
        "threads = [threading.Thread(target=read) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(locale.setlocale(locale.LC_NUMERIC))\n"
    )
    done = run_python("-c", script, name, **environment)
    assert (done.stdout, done.stderr) == (f"{name}\n", "")


def test_another_mass_than_the_described_one_is_refused():
    tree = load_tree(DEFAULT_MODEL, merged=True)
    base = tree.link(tree.root)
    check_mass("Bullet", base, 1.1 * base.mass, scale=1.1)
    with pytest.raises(ModelError, match=f"Bullet read link {base.name} as 5 kg instead of"):
        check_mass("Bullet", base, 5.0)
