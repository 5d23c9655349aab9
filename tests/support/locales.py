"""A locale with a decimal comma, for tests of what C libraries read."""

import locale
import shutil
import subprocess

import pytest

_CANDIDATES = ("de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8")


@pytest.fixture(scope="session")
def comma_locale(tmp_path_factory):
    """Return the name and the environment of a locale that writes 1,5; compiled if need be."""
    before = locale.setlocale(locale.LC_NUMERIC)
    for name in _CANDIDATES:
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
        except locale.Error:
            continue
        comma = locale.localeconv()["decimal_point"] == ","
        locale.setlocale(locale.LC_NUMERIC, before)
        if comma:
            return name, {}
    if not shutil.which("localedef"):
        pytest.skip("no locale with a decimal comma, and no localedef to make one")
    folder = tmp_path_factory.mktemp("locales")
    command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / "de_DE.UTF-8")]
    made = subprocess.run(command, capture_output=True, text=True)
    if not (folder / "de_DE.UTF-8").exists():
        pytest.skip(f"no locale with a decimal comma: {made.stderr.strip()}")
    return "de_DE.UTF-8", {"LOCPATH": str(folder)}
