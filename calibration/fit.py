"""Fit the parameters of a plant to windows of records, and say how surely each is known.

The search is CMA-ES (Hansen 2016, arXiv 1604.00772, from the library ``cma``) over a box of what is
plausible, and then a trust region method for least squares (SciPy's) from the point found, which
needs few steps where the errors are nearly linear. The objective is a robust mean of squared
errors. Each is divided by its usual size, so that all signals and horizons weigh alike: at first by
that at the first guess, in the last least squares by that at the best point so far. Errors of the
first guess are tenths of a radian; beside these nobody would see the last milliradian.

The intervals are those of robust regression: at the optimum, the errors are taken as linear in the
parameters, and each window as one independent observation (sandwich estimator of White 1980, with
Huber's weights). They are three times as wide as that, since a window does not begin in exactly the
state in which the robot was, and such an error looks like friction or a latency in every window: on
simulated robots of which everything is known, nine in ten errors are within 2.2 times the estimate
and 19 in 20 within 3 (``studies/hidden_robots.py``, robots 20 to 23). Where the search begins
counts as weak knowledge, a normal distribution with the standard deviation of the box: what the
records cannot tell stays near it. That is a parameter of which they leave more than half of that
standard deviation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import multiprocessing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from calibration.errors import CalibrationError
from calibration.predict import errors_of, predict, with_battery
from calibration.record import Record
from calibration.replay_errors import ReplayErrors, is_replayed
from calibration.stimulus import stimulus_of
from calibration.windows import cut, spread
from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS
from robot_firmware_bridge.worker_process import obey_parent
from sim.plant.params import VECTORS, PlantParams
from sim.plant.plant import Plant
from sim.plant.registry import make_plant

Array = NDArray[np.float64]

# What can be fitted, and the least and greatest value that is plausible for a Minitaur. Masses,
# inertias, strength, friction and latency go twice as far as Table I of Tan et al. 2018.
BOX: Mapping[str, tuple[float, float]] = {
    "base_mass_scale": (0.6, 1.4),
    "leg_mass_scale": (0.6, 1.6),
    "base_inertia_scale": (0.1, 2.0),
    "leg_inertia_scale": (0.1, 2.0),
    "base_com_x_m": (-0.05, 0.05),
    "motor_strength_scale": (0.6, 1.4),
    "motor_viscous_nm_s_per_rad": (0.0, 0.05),
    "motor_coulomb_nm": (0.0, 0.2),
    "winding_resistance_ohm": (0.12, 0.35),
    "torque_constant_nm_per_a": (0.075, 0.115),
    "knee_viscous_nm_s_per_rad": (0.0, 0.02),
    "knee_coulomb_nm": (0.0, 0.1),
    "encoder_offset_rad": (-0.15, 0.15),
    "battery_v": (12.0, 17.0),
    "battery_resistance_ohm": (0.0, 0.15),
    "contact_friction": (0.1, 1.6),
    "toe_stiffness_n_per_m": (1000.0, 30000.0),
    "toe_damping_n_s_per_m": (10.0, 150.0),
    "pd_latency_s": (0.0, 0.015),
    "policy_latency_s": (0.0, 0.085),
    "imu_roll_bias_rad": (-0.12, 0.12),
    "imu_pitch_bias_rad": (-0.12, 0.12),
}
# Over decades rather than evenly.
_LOGARITHMIC = frozenset(("toe_stiffness_n_per_m",))
# Error beyond which a window counts linearly, in units of the usual ones.
_HUBER = 2.0
# First step of the finite differences and standard deviation of an even distribution, shares of the
# box.
_STEP, _BOX_STD = 0.03, 12.0**-0.5
# Later steps change a window's errors by this share of their usual size, within the bounds.
_STEP_SHARE, _LEAST_STEP, _LARGEST_STEP = 0.3, 0.002, 0.15
# A parameter is known if its standard deviation is less than this share of the box's.
_KNOWN_SHARE = 0.5
# See above: what the estimate of a standard deviation is multiplied by.
_WIDER = 3.0
# Half width of a normal distribution's 95 %.
_TWO_SIDED_95 = 1.96
# First step of the search, share of the box.
_FIRST_STEP = 0.2
# However short a record is, so many windows are fitted if they are asked for.
_FEWEST_WINDOWS = 10
# The least squares begin so often, from the second time on in units of the errors that are left,
# with so many steps each.
_ROUNDS, _POLISH_STEPS = 3, 5
# The usual size of normal errors, as a multiple of the median of their absolute values.
_OF_MEDIAN = 1.4826
# Horizons that are fitted; the shortest ones say little but noise.
_HORIZONS_MS = (20, 30, 50)


@dataclass(frozen=True, slots=True)
class Space:
    """The box that is searched, as a cube of side 1; a vector parameter has eight dimensions.

    Attributes:
        names: Parameters, in the order of their dimensions.
        start: Values of the parameters that are not searched, and where the search begins.
    """

    names: tuple[str, ...]
    start: PlantParams

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in BOX]
        if unknown:
            raise CalibrationError(
                f"{unknown[0]!r} cannot be fitted; known: {', '.join(sorted(BOX))}"
            )
        if not self.names:
            raise CalibrationError("no parameter is left to fit: hold fewer of them")

    @property
    def labels(self) -> list[str]:
        """One name for each dimension."""
        motors = MINITAUR.motor_names
        return [
            f"{name}[{motor}]" if name in VECTORS else name
            for name in self.names
            for motor in (motors if name in VECTORS else ("",))
        ]

    def dimensions(self) -> dict[str, slice]:
        """Return where the dimensions of each parameter are."""
        places, index = {}, 0
        for name in self.names:
            width = NUM_MOTORS if name in VECTORS else 1
            places[name] = slice(index, index + width)
            index += width
        return places

    def of(self, params: PlantParams) -> Array:
        """Return the point of parameters, moved into the cube, shape (D,)."""
        parts = [np.atleast_1d(_to_unit(name, getattr(params, name))) for name in self.names]
        return np.clip(np.concatenate(parts), 0.0, 1.0)

    def params(self, point: Array) -> PlantParams:
        """Return the parameters of a point of the cube, shape (D,)."""
        values: dict[str, Any] = {}
        for name, where in self.dimensions().items():
            entries = _from_unit(name, np.clip(point[where], 0.0, 1.0))
            values[name] = tuple(map(float, entries)) if name in VECTORS else float(entries[0])
        return dataclasses.replace(self.start, **values)

    def ends(self, low: Array, high: Array) -> dict[str, tuple[Any, Any]]:
        """Return the values at two points of the cube, by parameter."""
        ends = self.params(low), self.params(high)
        return {name: (getattr(ends[0], name), getattr(ends[1], name)) for name in self.names}


def _to_unit(name: str, value: Any) -> Array:
    low, high = BOX[name]
    value = np.asarray(value, dtype=np.float64)
    if name in _LOGARITHMIC:
        return np.asarray(np.log(value / low) / np.log(high / low))
    return np.asarray((value - low) / (high - low))


def _from_unit(name: str, share: Array) -> Array:
    low, high = BOX[name]
    if name in _LOGARITHMIC:
        return np.asarray(low * (high / low) ** share)
    return np.asarray(low + (high - low) * share)


class _WindowErrors:
    """Errors of short predictions, one row a window, in units of those of a first guess."""

    def __init__(self, record: Record, count: int) -> None:
        self._stimulus = stimulus_of(record)
        every = cut(record, None, _HORIZONS_MS)
        # Windows that share their time are not independent, and would make the intervals too
        # narrow.
        rate_hz = 0.0 if record.motors is None else record.motors.rate_hz
        apart = round(len(every) / (1e-3 * _HORIZONS_MS[-1] * rate_hz))
        fewer = min(count, len(every), max(_FEWEST_WINDOWS, apart))
        self._windows = every.chosen(spread(len(every), fewer))
        self._scale: Array = np.ones(1)

    def set_scale(self, plant: Plant) -> None:
        """Take the usual errors of a plant as the unit of each column."""
        raw = self._raw(plant)
        usual = _OF_MEDIAN * np.median(np.abs(raw), axis=0)
        self._scale = np.maximum(1e-4, usual) / _signal_weights(raw)

    def _raw(self, plant: Plant) -> Array:
        found = errors_of(self._windows, *predict(plant, self._stimulus, self._windows))
        count = len(self._windows)
        flat = (found.position_rad.reshape(count, -1), found.rp_rad.reshape(count, -1))
        return np.concatenate(flat, axis=1)

    def errors(self, plant: Plant) -> Array:
        """Return the errors of a plant, shape (W, C)."""
        return self._raw(plant) / self._scale


def _signal_weights(errors: Array) -> Array:
    """Return weights of a window's errors whose squares sum to 1: angles and attitude alike."""
    horizons = errors.shape[1] // (NUM_MOTORS + 2)
    angles, attitude = horizons * NUM_MOTORS, horizons * 2
    return np.asarray(np.sqrt(np.repeat((0.5 / angles, 0.5 / attitude), (angles, attitude))))


class Objective:
    """The errors of a plant over some records.

    A record whose states come fast enough is cut into windows, one with commands and motion capture
    is replayed as a whole.

    Args:
        records: At least one.
        engine: A name in ``sim.plant.registry.PLANTS``.
        windows: How many, over all records.
        battery: Take the battery voltage that a record reports.
    """

    def __init__(
        self, records: Sequence[Record], engine: str, windows: int, *, battery: bool = True
    ) -> None:
        self.plant = make_plant(engine)
        self._battery = battery
        self._units: PlantParams | None = None
        share = max(1, windows // len(records))
        self._parts: list[tuple[Record, _WindowErrors | ReplayErrors]] = [
            (record, ReplayErrors(record) if is_replayed(record) else _WindowErrors(record, share))
            for record in records
        ]

    def _each(self, params: PlantParams) -> Iterator[_WindowErrors | ReplayErrors]:
        """Reset the plant for each part, and yield it."""
        for record, part in self._parts:
            self.plant.reset(with_battery(params, record) if self._battery else params)
            yield part

    def errors(self, params: PlantParams, units: PlantParams) -> Array:
        """Return weighted errors, a row for each window or stretch of a replay, shape (W, C).

        Args:
            params: The plant.
            units: The plant whose usual errors are the units.
        """
        if units != self._units:
            for part in self._each(units):
                part.set_scale(self.plant)
            self._units = units
        rows = [part.errors(self.plant) for part in self._each(params)]
        width = max(each.shape[1] for each in rows)
        return np.concatenate([np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in rows])


def robust_mean(errors: Array) -> float:
    """Return the mean over windows of Huber's loss of a window's error, from (W, C)."""
    return float(0.5 * (robust(errors) ** 2).sum(axis=1).mean())


def robust(errors: Array) -> Array:
    """Return errors (W, C) scaled so that half the squares of a window sum to Huber's loss."""
    size = np.maximum(np.sqrt((errors**2).sum(axis=1)), 1e-12)
    loss = np.where(size <= _HUBER, 0.5 * size**2, _HUBER * (size - 0.5 * _HUBER))
    scaled: Array = errors * (np.sqrt(2.0 * loss) / size)[:, None]
    return scaled


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a search after a generation.

    Attributes:
        evaluations: Simulations so far.
        loss: Least loss so far.
        start_loss: Loss of the parameters that the search began with.
        params: The parameters found so far.
    """

    evaluations: int
    loss: float
    start_loss: float
    params: PlantParams


@dataclass(frozen=True, slots=True)
class Fit:
    """The result of a fit.

    Attributes:
        params: The parameters found.
        intervals: Parameter to the ends of its 95 % interval; only those that are known.
        unknown: Parameters that the records cannot tell.
        widths: Half width of each interval, known or not, as a share of that of the box, by label.
        loss: Loss found.
        start_loss: Loss of the parameters that the search began with.
        evaluations: Simulations made.
    """

    params: PlantParams
    intervals: Mapping[str, tuple[Any, Any]]
    unknown: tuple[str, ...]
    widths: Mapping[str, float]
    loss: float
    start_loss: float
    evaluations: int


_worker: Objective


def _start_worker(make: Callable[[], Objective]) -> None:
    global _worker  # each process has one
    obey_parent()
    _worker = make()


def _errors_in_worker(params: PlantParams, units: PlantParams) -> Array:
    return _worker.errors(params, units)


# Simulates points in the units of another; returns their errors.
_Simulate = Callable[[Sequence[Array], Array], list[Array]]


def fit(
    make: Callable[[], Objective],
    space: Space,
    *,
    evaluations: int,
    workers: int,
    seed: int,
) -> Iterator[Progress | Fit]:
    """Search; yield a Progress after each generation, and the Fit as the last value.

    The result depends on the seed, not on the number of workers.

    Args:
        make: Makes the objective in each process; must be picklable.
        space: What is searched.
        evaluations: Simulations of CMA-ES at most; least squares and intervals take some twenty
            more per dimension.
        workers: Processes; 0 for this one.
        seed: Of the search.

    Raises:
        CalibrationError: No simulation works, or the records say nothing about any parameter.
    """
    with _simulators(make, space, workers) as simulate:
        start = space.of(space.start)
        start_loss = robust_mean(simulate([start], start)[0])
        best, best_loss, count = start, start_loss, 1
        search = _searcher(start, evaluations, seed)
        while not search.stop() and count < evaluations:
            asked = search.ask()
            points = [each[: len(start)] for each in asked]
            losses = [robust_mean(errors) for errors in simulate(points, start)]
            search.tell(asked, losses)
            count += len(points)
            least = int(np.argmin(losses))
            if losses[least] < best_loss:
                best, best_loss = points[least], losses[least]
            yield Progress(count, best_loss, start_loss, space.params(best))
        for number in range(_ROUNDS):
            polish = _Polish(simulate, units=best if number else start)
            # How much the records leave open is only known when what they tell has been found.
            best = polish.run(best, near=start if number else None)
            count += polish.count
            loss = robust_mean(simulate([best], start)[0])
            yield Progress(count, loss, start_loss, space.params(best))
        std = standard_deviations(polish.raw(best), polish.raw_jacobian(best))
    yield _result(space, best, std, loss, start_loss, count)


@contextlib.contextmanager
def _simulators(make: Callable[[], Objective], space: Space, workers: int) -> Iterator[_Simulate]:
    """Yield a function that simulates points, in processes or, with 0 workers, in this one."""
    if workers == 0:
        objective = make()
        try:
            yield lambda points, units: [
                objective.errors(space.params(point), space.params(units)) for point in points
            ]
        finally:
            objective.plant.close()
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(make,)) as pool:
        yield lambda points, units: list(
            pool.map(
                functools.partial(_errors_in_worker, units=space.params(units)),
                map(space.params, points),
            )
        )


class _Polish:
    """Least squares in the units of a point; each point is simulated once.

    Differences are taken along the principal axes of the errors. Along a direction that the records
    hardly tell, the steps are long: over short ones the errors change less by the parameters than
    by when a toe happens to touch.
    """

    def __init__(self, simulate: _Simulate, units: Array) -> None:
        self._simulate_all, self._units, self._near = simulate, units, units
        self._weight = 0.0
        self._steps: Array = _STEP * np.eye(len(units))  # one in each column
        self._known: dict[bytes, Array] = {}
        self.count = 0

    def run(self, start: Array, near: Array | None) -> Array:
        """Return the point found from another on, near a third where the records cannot tell."""
        if near is not None:
            usual = float((robust(self.raw(start)) ** 2).sum(axis=1).mean())
            self._near, self._weight = near, _prior(usual) ** 0.5
        found = scipy.optimize.least_squares(
            self.errors,
            np.clip(start, 0.01, 0.99),
            self.jacobian,
            bounds=(0.0, 1.0),
            x_scale="jac",
            xtol=2e-3,
            ftol=1e-2,
            max_nfev=_POLISH_STEPS,
        )
        return np.asarray(found.x)

    def _simulate(self, points: Sequence[Array]) -> list[Array]:
        missing = [point for point in points if point.tobytes() not in self._known]
        for point, errors in zip(missing, self._simulate_all(missing, self._units), strict=True):
            self._known[point.tobytes()] = errors
            self.count += 1
        return [self._known[point.tobytes()] for point in points]

    def raw(self, point: Array) -> Array:
        """Return the errors at a point, shape (W, C)."""
        return self._simulate([point])[0]

    def errors(self, point: Array) -> Array:
        """Return the robust errors at a point, flat, and its distance from what is known."""
        distance = self._weight * (point - self._near)
        return np.concatenate((robust(self.raw(point)).ravel(), distance))

    def raw_jacobian(self, point: Array) -> Array:
        """Return the derivative of the errors, shape (W, C, D)."""
        return self._slopes(point, lambda errors: errors)

    def jacobian(self, point: Array) -> Array:
        """Return the derivative of :meth:`errors`, shape (W C + D, D)."""
        slopes = self._slopes(point, robust)
        flat = slopes.reshape(-1, len(point))
        size = float((robust(self.raw(point)) ** 2).sum())
        self._steps = _steps_along(flat.T @ flat, size)
        return np.concatenate((flat, self._weight * np.eye(len(point))))

    def _slopes(self, point: Array, of: Callable[[Array], Array]) -> Array:
        pairs = [
            (np.clip(point + step, 0.0, 1.0), np.clip(point - step, 0.0, 1.0))
            for step in self._steps.T
        ]
        self._simulate([each for pair in pairs for each in pair])
        moved = np.stack([up - down for up, down in pairs], axis=1)
        changes = np.stack([of(self.raw(up)) - of(self.raw(down)) for up, down in pairs], axis=-1)
        return np.asarray(changes @ np.linalg.pinv(moved))


def _steps_along(hessian: Array, size: float) -> Array:
    """Return steps along the principal axes, in columns, that change the errors enough.

    Args:
        hessian: Sum over the errors of the products of their derivatives, shape (D, D).
        size: Sum of the squares of the errors.
    """
    curvature, axes = np.linalg.eigh(hessian)
    lengths = _STEP_SHARE * np.sqrt(size / np.maximum(curvature, 1e-12))
    return np.asarray(axes * np.clip(lengths, _LEAST_STEP, _LARGEST_STEP))


def _searcher(start: Array, evaluations: int, seed: int) -> Any:
    """Return CMA-ES over the unit cube; one parameter has a second beside it that does nothing.

    The library breaks off in a single dimension when it bounds the step.
    """
    if len(start) == 1:
        start = np.append(start, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import cma

        options = {
            "bounds": [0.0, 1.0],
            "seed": seed + 1,  # 0 means the time of day there
            "verbose": -9,
            "maxfevals": evaluations,
            "tolx": 2e-3,
            "tolfun": 1e-4,
        }
        return cma.CMAEvolutionStrategy(np.clip(start, 0.02, 0.98), _FIRST_STEP, options)


def standard_deviations(errors: Array, jacobian: Array) -> Array:
    """Return the standard deviation of each dimension, shape (D,), as a share of the box.

    It is never more than that of the box itself.

    Args:
        errors: At the optimum, shape (W, C).
        jacobian: Their derivative, shape (W, C, D).
    """
    size = np.sqrt((errors**2).sum(axis=1))
    weight = np.where(size <= _HUBER, 1.0, _HUBER / np.maximum(size, _HUBER))
    hessian = np.einsum("w,wcd,wce->de", weight, jacobian, jacobian)
    score = np.einsum("w,wc,wcd->wd", weight, errors, jacobian)
    spread = score.T @ score
    noise = float(np.mean(size**2 * weight)) or 1e-12
    prior = _prior(noise) * np.eye(len(hessian))
    inverse = np.linalg.inv(hessian + prior)
    covariance = inverse @ (spread + prior * noise) @ inverse
    found = _WIDER * np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return np.asarray(np.minimum(found, _BOX_STD))


def _prior(noise: float) -> float:
    """Return how many squared errors a squared distance counts, whose usual size is the box's.

    Args:
        noise: Mean over the windows of the squares of what cannot be explained.
    """
    return float(noise / _BOX_STD**2)


def _result(
    space: Space, point: Array, std: Array, loss: float, start_loss: float, count: int
) -> Fit:
    half = _TWO_SIDED_95 * std
    ends = space.ends(np.clip(point - half, 0.0, 1.0), np.clip(point + half, 0.0, 1.0))
    unknown = tuple(
        name
        for name, where in space.dimensions().items()
        if std[where].max() > _KNOWN_SHARE * _BOX_STD
    )
    return Fit(
        params=space.params(point),
        intervals={name: ends[name] for name in space.names if name not in unknown},
        unknown=unknown,
        widths=dict(zip(space.labels, (std / _BOX_STD).tolist(), strict=True)),
        loss=loss,
        start_loss=start_loss,
        evaluations=count,
    )
