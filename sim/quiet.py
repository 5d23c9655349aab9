"""PyBullet, without the line that it prints when it is imported."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def import_pybullet() -> Any:
    """The ``pybullet`` module.

    Its build time goes to the process's standard error from C, in every worker process, where it
    would stand between a program's own lines; so that descriptor points elsewhere for the moment.
    """
    if "pybullet" in sys.modules:
        return sys.modules["pybullet"]
    sys.stderr.flush()
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        return importlib.import_module("pybullet")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
