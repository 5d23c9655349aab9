"""C sources as a shared library: compiled on this computer when first needed, and cached.

Standard library only. Safe when several processes build at once: each compiles for itself, and a
rename decides.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robot_firmware_bridge.errors import CompileError
from robot_firmware_bridge.user_cache import cache_folder, home_cache

# No fused multiply-add: every machine computes the same. No names that others could collide with.
_FLAGS = (
    *("-std=c11", "-O2", "-g", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=hidden"),
    *("-Wall", "-Wextra"),
)
# Builds that stay in the cache: of one version, a few with other checks; and of some versions.
_KEPT = 12
_KEY_LENGTH = 24


@dataclass(frozen=True, slots=True)
class CLibrary:
    """What a library is made of.

    Attributes:
        name: Of its folder in the cache, and of its file.
        what: What people call it, e.g. "the firmware".
        sources: Files that are compiled.
        includes: Folders of the ``.h`` files.
        linked: Libraries that it needs, as files.
    """

    name: str
    what: str
    sources: tuple[Path, ...]
    includes: tuple[Path, ...]
    linked: tuple[Path, ...] = ()

    @property
    def file(self) -> str:
        """Name of the compiled file."""
        return f"{self.name}.so"

    def digest(self) -> str:
        """Return a digest of the sources, hexadecimal, in whatever folder they are."""
        digest = hashlib.sha256()
        headers = (path for folder in self.includes for path in folder.glob("*.h"))
        for path in sorted((*self.sources, *headers)):
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
        return digest.hexdigest()

    def build(self, flags: Sequence[str] = ()) -> Path:
        """Compile into the cache of this user, unless it is there already; return the library.

        Args:
            flags: Of the compiler, beside the usual ones.

        Raises:
            CompileError: No compiler, it fails, or there is no folder to write to.
        """
        compiler = shutil.which("cc")
        if compiler is None:
            raise CompileError(
                f"{self.what} is compiled C, and there is no C compiler `cc`; get one (Debian: "
                "apt-get install gcc libc6-dev; macOS: xcode-select --install)"
            )
        every = (*_FLAGS, *(f"-I{folder}" for folder in self.includes), *flags)
        # All that makes a library differ.
        made_of = (compiler, platform.machine(), every, self.digest(), self._identities())
        key = hashlib.sha256(repr(made_of).encode()).hexdigest()[:_KEY_LENGTH]
        home = home_cache(self.name)
        if home is not None and (home / key / self.file).exists():
            target = home / key / self.file
            with contextlib.suppress(OSError):  # of a cache that cannot be written nothing is lost
                os.utime(target.parent)
            return target
        try:
            cache = cache_folder(self.name)
            target = cache / key / self.file
            if not target.exists():
                self._compile(compiler, every, target.parent)
                _forget_old(cache)
        except OSError as error:
            raise CompileError(
                f"cannot write {self.what}, compiled: {error.filename}: {error.strerror}; set "
                "XDG_CACHE_HOME to a folder that can be written"
            ) from None
        return target

    def _identities(self) -> list[tuple[str, int, int]]:
        """Return what tells the linked libraries from others at the same place."""
        found = ((path, path.stat()) for path in self.linked)
        return [(str(path), status.st_size, status.st_mtime_ns) for path, status in found]

    def _compile(self, compiler: str, flags: Sequence[str], target: Path) -> None:
        """Compile in a folder beside the target and rename it, which only one process can win."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            folder = Path(scratch) / target.name
            folder.mkdir()
            files = [str(path) for path in (*self.sources, *self.linked)]
            command = [compiler, *flags, *files, "-lm", "-o", self.file]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                error = next((line for line in done.stderr.splitlines() if "error" in line), "")
                raise CompileError(f"{compiler} cannot compile {self.what}: {error or done}")
            try:
                folder.rename(target)
            except OSError:
                if not (target / self.file).exists():  # else another process was first
                    raise


def _forget_old(cache: Path) -> None:
    """Remove the builds unused for longest; a process that has loaded one can go on."""
    builds: list[tuple[int, Path]] = []
    for path in cache.glob("?" * _KEY_LENGTH):
        with contextlib.suppress(FileNotFoundError):  # another process was first
            builds.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(builds, reverse=True)[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
