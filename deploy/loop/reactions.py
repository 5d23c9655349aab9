"""Reactions before a stop: what the loop does about trouble that the robot can still bear.

A robot that is damped in full stride falls. So trouble that grows slowly gets a milder answer
first. Each *signal* is compared with thresholds, and reaches a *level*:

| level | reaction |
|---|---|
| warn | the status line, the report and the flight log have it |
| slow | the requested velocity is scaled to a share; where a policy takes none, as warn |
| sit | the run ends as after one stop request: FINISH, then DAMP |
| damp | the motors damp at once, as after a stop of ``deploy.loop.safety`` |

The most severe level of all signals holds. A level is reached once its signal has been at or past
the threshold for ``lasts_s``. It is left once the signal has been better than the threshold by
``clear_by`` or more for ``clears_s``. A run that ``sit`` ended does not go on when the signal
recovers.

:class:`ReactionRules` has every threshold; :func:`read_rules` reads them from a file, and
:func:`table` writes them down for people, with the stops.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from deploy.errors import RunError, SafetyStop
from deploy.loop.pace import CURE as PACE_CURE
from deploy.loop.safety import STOPS
from deploy.record.thermal import WindingEstimate
from robot_firmware_bridge.json_values import JsonValueError, Within, decode
from robot_firmware_bridge.limits import LIMITS, FirmwareLimits
from robot_firmware_bridge.messages import RobotState
from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS, RobotDescription

Array = NDArray[np.float64]
Velocity = tuple[float, float]

# The battery sags for milliseconds at every step. The mean over two strides of a trot decides.
BATTERY_FILTER_S = 1.0
# Four lithium-polymer cells that are full. Table I of the paper ends there, too.
FULL_BATTERY_V = 16.8
# Over which the share of late states is taken: the last second counts most.
LINK_WINDOW_S = 1.0
# A state older than this is late, or a newer one was lost. A board sends several in a period, and
# after one period more the run is stopped: stale_state.
LATE_PERIODS = 2
# Events that a run keeps. An hour with a signal that comes and goes has fewer.
MOST_EVENTS = 2000
# What a file says instead of a threshold for a level that a signal shall not reach.
NEVER = "never"


class Level(enum.IntEnum):
    """How severe a signal is, and with it what is done."""

    NONE = 0
    WARN = 1
    SLOW = 2
    SIT = 3
    DAMP = 4

    @property
    def word(self) -> str:
        """The level as reports and files have it."""
        return self.name.lower()


_LEVELS = (Level.WARN, Level.SLOW, Level.SIT, Level.DAMP)
_Threshold = Annotated[float, Within(0.0, 1000.0)] | None
_Time = Annotated[float, Within(0.0, 60.0)]


@dataclass(frozen=True, slots=True)
class Rule:
    """At which values a signal reaches which level; values in the unit of the signal.

    Attributes:
        warn: Threshold of this level; None for a level that is never reached.
        slow: The same.
        sit: The same.
        damp: The same.
        clear_by: How much better than a threshold the signal must be to leave its level.
        lasts_s: How long the signal must be at or past a threshold.
        clears_s: How long it must be better by ``clear_by``.
    """

    warn: _Threshold = None
    slow: _Threshold = None
    sit: _Threshold = None
    damp: _Threshold = None
    clear_by: Annotated[float, Within(1e-6, 1000.0)] = 1.0
    lasts_s: _Time = 0.0
    clears_s: _Time = 0.0

    @property
    def thresholds(self) -> list[tuple[Level, float]]:
        """The levels that can be reached with their thresholds, the mildest first."""
        pairs = zip(_LEVELS, (self.warn, self.slow, self.sit, self.damp), strict=True)
        return [(level, threshold) for level, threshold in pairs if threshold is not None]


def _battery() -> Rule:
    """Return volts of a battery of four lithium-polymer cells: 3.45, 3.35 and 3.25 V a cell.

    The stop ``battery_low`` and the board's UNDERVOLTAGE come at 12.7 V, 3.175 V a cell. Table I of
    the paper, in which a policy must walk, ends at 14.0 V.
    """
    return Rule(warn=13.8, slow=13.4, sit=13.0, clear_by=0.3, lasts_s=0.5, clears_s=3.0)


def _winding(limits: FirmwareLimits = LIMITS) -> Rule:
    """Return degC: ``sit`` comes before the board's OVERHEAT under every steady heat.

    Housings get too hot under a steady heat of 55 W or more, and windings then have 107.5 degC or
    more; their own limit is 120. The milder levels come after 3/4 and 7/8 of the rise to there.
    """
    heat_w = (limits.max_housing_c - limits.ambient_c) / limits.housing_k_per_w
    sit = min(limits.max_housing_c + heat_w * limits.winding_k_per_w, limits.max_winding_c)
    rise = sit - limits.ambient_c
    return Rule(
        warn=round(limits.ambient_c + 0.75 * rise, 1),
        slow=round(limits.ambient_c + 0.875 * rise, 1),
        sit=sit,
        clear_by=5.0,
        lasts_s=0.2,
        clears_s=2.0,
    )


def _stall(limits: FirmwareLimits = LIMITS) -> Rule:
    """Return seconds of a stall: a quarter and a half of the time after which the board stops."""
    longest_s = min(limits.stall_ms, limits.overload_ms) / 1000.0
    return Rule(warn=0.25 * longest_s, sit=0.5 * longest_s, clear_by=0.1, clears_s=1.0)


@dataclass(frozen=True, slots=True)
class ReactionRules:
    """The rule of each signal, and how slow ``slow`` is.

    Attributes:
        slow_share: Factor on the requested velocity at ``slow``.
        battery: By the battery's voltage, V, as a mean over ``BATTERY_FILTER_S``.
        winding: By the temperature of the hottest winding, degC: as the motor controller models it
            or, where it reports none, as ``deploy.record.thermal`` does from the torques.
        stall: By the time, s, for which a motor has had the torque that it bears for a second only
            (``FirmwareLimits.overload_torque_nm``) and hardly any speed (``stall_speed_rad_s``).
        link: By the share of the last second's states that were late or lost.
        pace: By the share of the last ticks that were missed, of ``deploy.loop.pace``; more than
            half of them are the stop ``overruns``.
    """

    slow_share: Annotated[float, Within(0.0, 1.0)] = 0.5
    battery: Rule = dataclasses.field(default_factory=_battery)
    winding: Rule = dataclasses.field(default_factory=_winding)
    stall: Rule = dataclasses.field(default_factory=_stall)
    link: Rule = Rule(warn=0.2, slow=0.4, sit=0.6, clear_by=0.1, lasts_s=0.3, clears_s=2.0)
    pace: Rule = Rule(warn=0.2, slow=0.3, sit=0.4, clear_by=0.1, lasts_s=1.0, clears_s=2.0)

    def rule(self, signal: str) -> Rule:
        """Return the rule of the signal of this name."""
        rule: Rule = getattr(self, signal)
        return rule


@dataclass(frozen=True, slots=True)
class Signal:
    """What is watched.

    Attributes:
        name: As files, reports and faults have it.
        what: One line for people.
        form: How a value is written.
        falling: A smaller value is worse.
        cure: What to do about it.
        best: The value when all is well, which no value is better than.
    """

    name: str
    what: str
    form: str
    falling: bool
    cure: str
    best: float = 0.0

    def text(self, value: float) -> str:
        """Return a value of this signal with its unit."""
        return self.form.format(value)


SIGNALS = (
    Signal(
        "battery",
        f"voltage, mean over {BATTERY_FILTER_S:g} s",
        "{:.2f} V",
        falling=True,
        cure="charge the battery",
        best=FULL_BATTERY_V,
    ),
    Signal(
        "winding",
        "hottest winding, by the thermal model",
        "{:.1f} degC",
        falling=False,
        cure="let the motors cool, or take a gait with less power",
        best=LIMITS.ambient_c,
    ),
    Signal(
        "stall",
        f"a motor with more than {LIMITS.overload_torque_nm:g} Nm turns slower than "
        f"{LIMITS.stall_speed_rad_s:g} rad/s for",
        "{:.2f} s",
        falling=False,
        cure="look for what blocks the leg",
    ),
    Signal(
        "link",
        "states of the last second that were late or lost",
        "{:.0%}",
        falling=False,
        cure="check cable, adapter (latency timer) and the load of this computer",
    ),
    Signal(
        "pace",
        "ticks of the last 0.5 s (the last second, if half were) that were missed",
        "{:.0%}",
        falling=False,
        cure=PACE_CURE,
    ),
)
DEFAULT_RULES = ReactionRules()
# For whoever measures a policy or a board to the end, whatever happens meanwhile.
NO_REACTIONS = ReactionRules(1.0, *(Rule() for _ in SIGNALS))


@dataclass(frozen=True, slots=True)
class ReactionEvent:
    """A signal that changed its level, or at ``slow`` got a policy that cannot be slowed.

    Attributes:
        t_ns: When, on the loop's clock.
        signal: Name of the signal.
        level: Its new level: none, warn, slow, sit or damp.
        detail: One line for people.
    """

    t_ns: int
    signal: str
    level: str
    detail: str


class _Trigger:
    """Whether a threshold is reached: with a margin, and with a delay in both directions."""

    __slots__ = ("_clear", "_sign", "_since_ns", "_wait_ns", "level", "reached", "threshold")

    def __init__(self, level: Level, threshold: float, rule: Rule, falling: bool) -> None:
        self.level, self.threshold, self.reached = level, threshold, False
        self._sign = -1.0 if falling else 1.0
        self._clear = self._sign * threshold - rule.clear_by
        self._wait_ns = round(rule.lasts_s * 1e9), round(rule.clears_s * 1e9)
        self._since_ns: int | None = None  # when the value went over to the other side

    def idle(self, value: float) -> bool:
        """Return whether a value is a good one, as those before were."""
        good = self._sign * value < self._sign * self.threshold
        return good and self._since_ns is None and not self.reached

    def update(self, value: float, now_ns: int) -> None:
        """Take a value; NaN is none, and changes nothing."""
        worse = self._sign * value
        over = worse <= self._clear if self.reached else worse >= self._sign * self.threshold
        if not over:
            self._since_ns = None
            return
        if self._since_ns is None:
            self._since_ns = now_ns
        if now_ns - self._since_ns >= self._wait_ns[self.reached]:
            self.reached, self._since_ns = not self.reached, None


class _Watch:
    """A signal, its level, and what was last said of it."""

    __slots__ = ("_triggers", "detail", "level", "signal")

    def __init__(self, signal: Signal, rule: Rule) -> None:
        self.signal, self.level, self.detail = signal, Level.NONE, ""
        self._triggers = [
            _Trigger(level, threshold, rule, signal.falling) for level, threshold in rule.thresholds
        ]

    def update(self, value: float, now_ns: int) -> bool:
        """Take a value; return whether that changed the level."""
        if not self._triggers or self._triggers[0].idle(value):  # the mildest: so are the others
            return False
        level = Level.NONE
        for trigger in self._triggers:
            trigger.update(value, now_ns)
            if trigger.reached:
                level = trigger.level
        changed, self.level = level is not self.level, level
        return changed

    def describe(self, value: float, who: str) -> str:
        """Return why the signal has its level."""
        text = self.signal.text(value)
        if self.level is Level.NONE:
            return f"{text}, which is good again"
        (bound,) = (each.threshold for each in self._triggers if each.level is self.level)
        return f"{who}{text}, bound {self.signal.text(bound)}: {self.signal.cure}"

    def refuses(self, value: float) -> float | None:
        """Return the threshold of ``sit`` or ``damp`` that a value has reached; None if none."""
        for trigger in self._triggers:
            beyond = (
                value <= trigger.threshold if self.signal.falling else value >= trigger.threshold
            )
            if trigger.level >= Level.SIT and beyond:
                return trigger.threshold
        return None


class Reactions:
    """The levels of all signals during one run.

    Args:
        rules: Thresholds.
        robot: Whose motors they are.
        period_s: Control period.
        state_delay_ns: How old a state of this robot may be when all is well.

    Attributes:
        level: The most severe level of all signals.
        label: Signals with a level above none, for the status line; "" if all is well.
        events: Every change of a level so far, at most ``MOST_EVENTS``; and ``slow`` once more when
            a policy that cannot be slowed takes over.
    """

    def __init__(
        self,
        rules: ReactionRules = DEFAULT_RULES,
        robot: RobotDescription = MINITAUR,
        period_s: float = 0.006,
        state_delay_ns: int = 0,
    ) -> None:
        self._rules, self._robot = rules, robot
        self._late_ns = round(LATE_PERIODS * period_s * 1e9) + state_delay_ns
        self._watches = [_Watch(signal, rules.rule(signal.name)) for signal in SIGNALS]
        self._battery, self._winding, *_ = self._watches
        self._last_ns: int | None = None
        self._battery_v = math.nan
        self._estimate = WindingEstimate(robot.motor)
        self._stalled_s = np.zeros(NUM_MOTORS)
        self._late_share = 0.0
        self._steerable = True
        self.level = Level.NONE
        self.label = ""
        self.events: list[ReactionEvent] = []

    def check_start(self, states: Sequence[RobotState]) -> None:
        """Refuse to arm a robot that ``sit`` would end at once; at rest no battery sags.

        The mean of the battery's voltage begins with the median of these states: one reading that
        is wrong decides nothing.

        Args:
            states: Of the limp robot, the newest one last; at least one.

        Raises:
            SafetyStop: Named after the signal.
        """
        self._battery_v = float(np.median([state.battery_v for state in states]))
        hottest_c = float(np.fmax.reduce(states[-1].winding_temperature_c))
        for watch, value in ((self._battery, self._battery_v), (self._winding, hottest_c)):
            if (bound := watch.refuses(value)) is not None:
                signal = watch.signal
                raise SafetyStop(
                    f"{signal.name}_sit",
                    f"{signal.text(value)} before arming, bound {signal.text(bound)}: "
                    f"{signal.cure}",
                )

    def update(
        self, state: RobotState, now_ns: int, missed_share: float, steerable: bool = True
    ) -> Level:
        """Take the state of a tick, which passed the safety checks; return the level.

        Args:
            state: Of the robot.
            now_ns: Of the clock that stamped the state.
            missed_share: Share of the last ticks that were missed.
            steerable: The policy at work takes a velocity command, so that it can be slowed; True
                while none works.
        """
        dt_s = 0.0 if self._last_ns is None else 1e-9 * (now_ns - self._last_ns)
        dt_s = min(max(dt_s, 0.0), 1.0)
        self._last_ns = now_ns
        lost = self._steerable and not steerable
        self._steerable = steerable
        winding_c, hot = self._hottest_c(state, dt_s)
        stalled_s, stuck = self._longest_stall_s(state, dt_s)
        values = (
            self._mean_battery_v(state, dt_s),
            winding_c,
            stalled_s,
            self._share_of_late(state, now_ns, dt_s),
            missed_share,
        )
        motors = (None, hot, stuck, None, None)
        for watch, value, motor in zip(self._watches, values, motors, strict=True):
            if watch.update(value, now_ns):
                self._note(watch, value, motor, now_ns)
            elif lost and watch.level is Level.SLOW:  # it was slowed, and is so no more
                self._add_event(watch, now_ns)
        return self.level

    def slowed(self, requested: Velocity) -> Velocity:
        """Return a requested velocity, or the share of it that the level allows."""
        if self.level < Level.SLOW:
            return requested
        share = self._rules.slow_share
        return share * requested[0], share * requested[1]

    def stop(self) -> SafetyStop:
        """Return the stop of the signal with the most severe level: "battery_sit: ..."."""
        worst = max(self._watches, key=lambda watch: watch.level)
        return SafetyStop(f"{worst.signal.name}_{worst.level.word}", worst.detail)

    def _mean_battery_v(self, state: RobotState, dt_s: float) -> float:
        if math.isnan(self._battery_v):
            self._battery_v = state.battery_v
        self._battery_v += dt_s / (BATTERY_FILTER_S + dt_s) * (state.battery_v - self._battery_v)
        return self._battery_v

    def _hottest_c(self, state: RobotState, dt_s: float) -> tuple[float, int]:
        """Return the temperature of the hottest winding, and its motor."""
        temperature_c, unknown = state.winding_temperature_c, np.isnan(state.winding_temperature_c)
        if unknown.any():
            self._estimate.update(state.motor_torque_nm, dt_s)
            temperature_c = np.where(unknown, self._estimate.winding_c, temperature_c)
        motor = int(temperature_c.argmax())
        return float(temperature_c[motor]), motor

    def _longest_stall_s(self, state: RobotState, dt_s: float) -> tuple[float, int]:
        """Return for how long a motor has been stalled, the longest, and that motor."""
        stalled = np.abs(state.motor_torque_nm) > LIMITS.overload_torque_nm
        if not stalled.any():
            self._stalled_s.fill(0.0)
            return 0.0, 0
        stalled &= np.abs(state.motor_velocity_rad_s) < LIMITS.stall_speed_rad_s
        self._stalled_s += dt_s
        self._stalled_s *= stalled
        motor = int(self._stalled_s.argmax())
        return float(self._stalled_s[motor]), motor

    def _share_of_late(self, state: RobotState, now_ns: int, dt_s: float) -> float:
        late = float(now_ns - state.t_ns > self._late_ns)
        self._late_share += dt_s / (LINK_WINDOW_S + dt_s) * (late - self._late_share)
        return self._late_share

    def _note(self, watch: _Watch, value: float, motor: int | None, now_ns: int) -> None:
        """Take over the new level of a signal; rare, so it may allocate."""
        who = "" if motor is None else f"motor {self._robot.motor_names[motor]}: "
        watch.detail = watch.describe(value, who)
        self.level = max(each.level for each in self._watches)
        self.label = ", ".join(
            f"{each.signal.name} {each.level.word}" for each in self._watches if each.level
        )
        self._add_event(watch, now_ns)

    def _add_event(self, watch: _Watch, now_ns: int) -> None:
        only_told = watch.level is Level.SLOW and not self._steerable
        told = "; this policy cannot be steered, so it is not slowed" if only_told else ""
        if len(self.events) < MOST_EVENTS:
            self.events.append(
                ReactionEvent(now_ns, watch.signal.name, watch.level.word, watch.detail + told)
            )


def read_rules(path: Path) -> ReactionRules:
    """Read rules from a TOML file; what the file leaves out stays as it is by default.

    The file has a table for each signal, and ``slow_share``::

        slow_share = 0.3
        [battery]
        warn = 14.2
        sit = "never"

    Raises:
        RunError: The file cannot be read, has an unknown name, a value that is impossible, or a
            level that could be reached and never left.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"reactions {path}: {error.strerror}") from error
    except ValueError as error:  # neither TOML nor text
        raise RunError(f"reactions {path} is not TOML: {error}") from error
    whole = dataclasses.asdict(DEFAULT_RULES)
    try:
        rules: ReactionRules = decode(ReactionRules, _merged(whole, data), "reactions")
    except JsonValueError as error:
        raise RunError(f"reactions {path}: {error}") from error
    for signal in SIGNALS:
        _check_order(signal, rules.rule(signal.name), path)
        _check_way_back(signal, rules.rule(signal.name), path)
    return rules


def _merged(whole: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Return rules as data, with what a file says in the place of the defaults."""
    known = whole.keys()
    for name, value in data.items():
        _check_name(name, known, "reactions")
        if isinstance(value, dict) and isinstance(whole[name], dict):
            for field in value:
                _check_name(field, whole[name].keys(), name)
            value = {field: None if each == NEVER else each for field, each in value.items()}
            whole[name] |= value
        else:
            whole[name] = value
    return whole


def _check_name(name: str, known: Iterable[str], where: str) -> None:
    if name not in known:
        raise JsonValueError(f"{where} knows no {name}, only {', '.join(known)}")


def _check_order(signal: Signal, rule: Rule, path: Path) -> None:
    """Refuse thresholds of which a severe level comes before a milder one.

    Raises:
        RunError: Names both levels.
    """
    pairs = rule.thresholds
    for (mild, before), (severe, after) in itertools.pairwise(pairs):
        if (after >= before) if signal.falling else (after <= before):
            side = "below" if signal.falling else "above"
            raise RunError(
                f"reactions {path}: {signal.name}.{severe.word} {after:g} must be {side} "
                f"{signal.name}.{mild.word} {before:g}"
            )


def _check_way_back(signal: Signal, rule: Rule, path: Path) -> None:
    """Refuse a threshold so near to the best value that its level could never be left.

    Raises:
        RunError: Names the level.
    """
    for level, threshold in rule.thresholds:
        room = signal.best - threshold if signal.falling else threshold - signal.best
        if room <= rule.clear_by:
            raise RunError(
                f"reactions {path}: {signal.name}.{level.word} {threshold:g} could never be left, "
                f"as clear_by is {rule.clear_by:g} and the best value {signal.text(signal.best)}: "
                "choose a milder threshold or a smaller clear_by"
            )


def table(rules: ReactionRules = DEFAULT_RULES) -> str:
    """Return all reactions and all stops as two Markdown tables, for the documents."""
    reactions = [_row(signal, rules.rule(signal.name)) for signal in SIGNALS]
    stops = [(f"`{stop.name}`", stop.meaning, stop.cure) for stop in STOPS]
    levels = (level.word for level in _LEVELS)
    heads = ("signal", "what is watched", *levels, "after", "better again", "what to do")
    return "\n".join(
        (
            *_markdown(heads, reactions),
            "",
            *_markdown(("stop", "meaning", "what to do"), stops),
        )
    )


def _row(signal: Signal, rule: Rule) -> tuple[str, ...]:
    reached = dict(rule.thresholds)
    bounds = (signal.text(reached[level]) if level in reached else "-" for level in _LEVELS)
    better = f"by {signal.text(rule.clear_by)} for {rule.clears_s:g} s"
    after = f"{rule.lasts_s:g} s" if rule.lasts_s else "at once"
    return (f"`{signal.name}`", signal.what, *bounds, after, better, signal.cure)


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
