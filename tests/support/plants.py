"""Calibrated plants in files, as a calibration writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from sim.plant import params_file
from sim.plant.params import PlantParams, Range, Value
from sim.plant.params_file import CalibratedPlant, Provenance, params_text

WritePlant = Callable[..., Path]


def write_plant(
    path: Path,
    values: Mapping[str, Value],
    intervals: Mapping[str, Range] | None = None,
    unknown: Sequence[str] = (),
) -> Path:
    """Write a calibrated plant with these values to a file; return the file."""
    origin = Provenance({}, "mujoco", "minitaur calibrate", "2026-11-28", {})
    params = PlantParams(**values)  # type: ignore[arg-type]
    plant = CalibratedPlant(path.stem, params, intervals or {}, tuple(unknown), origin)
    path.write_text(params_text(plant))
    return path


@pytest.fixture
def shipped_plants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose calibrated plants ship, and no others."""
    folder = tmp_path / "plants"
    folder.mkdir()
    monkeypatch.setattr(params_file, "_DATA", folder)
    return folder
