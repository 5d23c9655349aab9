"""Caches: in the home of a user who has one, else in a temporary folder of this user alone."""

import os
import stat

import pytest

from robot_firmware_bridge.user_cache import cache_folder, home_cache


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")
    return tmp_path / f"minitaur-{os.getuid()}"


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"XDG_CACHE_HOME": "/a b", "HOME": "/c"}, "/a b/minitaur-x"),
        ({"XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/minitaur-x"),
    ],
)
def test_a_home_has_the_cache_where_the_system_says(variables, folder, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(home_cache("x")) == folder


def test_a_user_without_home_and_name_has_none(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54_321)
    assert home_cache("x") is None


def test_the_temporary_one_is_this_users_alone(temporary):
    folder = cache_folder("x")
    assert folder == temporary / "x"
    assert folder.is_dir()
    assert stat.S_IMODE(temporary.stat().st_mode) == 0o700
    assert cache_folder("x") == folder


def test_what_another_user_or_a_link_put_there_is_refused(temporary, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    temporary.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="not a folder that this user alone can write"):
        cache_folder("x")
    temporary.unlink()
    temporary.mkdir()
    temporary.chmod(0o770)
    with pytest.raises(OSError, match="not a folder that this user alone can write"):
        cache_folder("x")
