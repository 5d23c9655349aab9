"""The checklist before arming: what it makes of a limp robot, and what a yes is."""

import dataclasses
import io
import math
import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_robot import ScriptedRobot, VirtualClock
from support.states import standing

from deploy.arming import Look, Verdict, bring_up, checklist, confirm, look
from deploy.bringup.robot_file import RobotFile, WiggleRecord
from deploy.errors import RunError
from deploy.loop.reactions import DEFAULT_RULES, NO_REACTIONS, Rule
from deploy.loop.safety import POSE_MARGIN_RAD
from deploy.record.report import LinkReport
from robot_firmware_bridge.errors import LinkLostError
from robot_firmware_bridge.geometry import leg_to_motor
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.robot import MINITAUR

PERIOD_S, MS = 0.006, 1_000_000
LINK = LinkReport(
    "port", 921600, 0, 0, 0, 0, 0, 0, 0, 0, None, None, low_latency=True, states_late=0
)  # fmt: skip


def seen(number=500, look=None, **fields):
    """A second of a robot that stands still, disarmed, with any field of its states replaced."""
    fields = {"mode": Mode.DISARMED, "winding_temperature_c": np.full(8, 25.0), **fields}
    states = tuple(standing(t_ns=2 * MS * k, **fields) for k in range(number))
    fine = Look(states, gap_s=0.002, seconds=1.0, received=500, lost=0)
    return dataclasses.replace(fine, **(look or {}))


def items(look=None, **fields):
    """The checklist by name."""
    return {item.name: item for item in checklist(seen(look=look, **fields), MINITAUR, PERIOD_S)}


def legs(swing=(0, 0, 0, 0), extension=(115, 115, 115, 115)):
    """Motor angles of legs in degrees."""
    return leg_to_motor(np.radians([*swing, *extension]))


def test_a_robot_in_its_stance_is_in_order():
    found = items()
    assert {item.verdict for item in found.values()} == {Verdict.OK}
    assert str(found["battery"]) == "  ok    battery      16.0 V, 3.3 V above the bound of 12.7 V"
    assert found["states"].text == "500 a second, 0 lost"
    assert found["attitude"].text == "roll +0.0, pitch +0.0 degrees, still"
    assert found["front_left"].text == (
        "swing +0, extension 115 degrees (stance 0, 115); motors 115, 115 of 11 to 206"
    )
    assert found["pose"].text.startswith("legs bent as in the stance")
    assert found["windings"].text == "25 C at most (front_leftL), bound 120"
    assert [*found][5:9] == list(MINITAUR.leg_names)


@pytest.mark.parametrize(
    ("name", "fields", "verdict", "said"),
    [
        ("battery", {"battery_v": 13.6}, Verdict.LOOK, "13.6 V, 0.9 V above the bound of 12.7 V"),
        ("battery", {"battery_v": 12.6}, Verdict.STOP, "12.60 V, bound 12.7 V: charge"),
        ("attitude", {"rpy_rad": np.array((0.6, 0, 0))}, Verdict.STOP, "put the robot upright"),
        (
            "attitude",
            {"rpy_rad": np.radians((10, -20, 0)), "angular_rate_rad_s": np.array((0, 1.0, 0))},
            Verdict.LOOK,
            "roll +10.0, pitch -20.0 degrees, being moved by 57 degrees/s: hold it still",
        ),
        ("board", {"fault": Fault.STALL}, Verdict.STOP, "STALL: look for the cause, then"),
        ("board", {"mode": Mode.ACTIVE}, Verdict.STOP, "another program commands it"),
        ("states", {"battery_v": math.nan}, Verdict.STOP, "battery_v is nan"),
        ("windings", {"winding_temperature_c": np.full(8, np.nan)}, Verdict.OK, "does not know"),
        (
            "windings",
            {"winding_temperature_c": np.arange(83.0, 91.0)},
            Verdict.LOOK,
            "90 C at most",
        ),
        ("windings", {"winding_temperature_c": np.full(8, 120.0)}, Verdict.STOP, "let the motors"),
        ("states", {"look": {"received": 0}}, Verdict.STOP, "0 states in 1.0 s, and a run needs"),
        ("states", {"look": {"received": 50}}, Verdict.STOP, "50 states in 1.0 s"),  # 20 > 18 ms
        ("states", {"look": {"received": 60}}, Verdict.OK, "60 a second"),
        ("states", {"look": {"lost": 5}}, Verdict.OK, "500 a second, 5 lost"),
        ("states", {"look": {"lost": 10}}, Verdict.LOOK, "10 lost: look at cable"),
        ("states", {"look": {"gap_s": 0.016}}, Verdict.LOOK, "in bursts every 16 ms: set the"),
        ("pose", {"look": {"pose_fault": "bend the leg"}}, Verdict.STOP, "bend the leg"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(name, fields, verdict, said):
    found = items(**fields)
    assert found[name].verdict is verdict
    assert said in found[name].text
    others = [item for item in found.values() if item.name != name]
    assert {item.verdict for item in others} == {Verdict.OK}


@pytest.mark.parametrize(
    ("pose", "verdicts", "said"),
    [
        (legs(extension=(180,) * 4), {"pose": Verdict.OK}, "legs hang straight: on a stand"),
        (
            legs(swing=(-95, -95, -95, -95), extension=(90,) * 4),  # -5 and 185 degrees
            {"pose": Verdict.LOOK, "front_left": Verdict.LOOK, "back_right": Verdict.LOOK},
            "as of a robot that lies: lift it",
        ),
        (
            legs(swing=(-130, 0, 0, 0)),  # front_left at 245 and -15 degrees: 39 past 206
            {"pose": Verdict.STOP, "front_left": Verdict.STOP},
            "lift it until its legs hang straight down (turn front_left 130 degrees backwards)",
        ),
        (
            legs(extension=(115, 115, 115, 500)),
            {"pose": Verdict.STOP, "back_right": Verdict.STOP},
            "no leg can be there, set the zero of its encoder",
        ),
        (
            legs(swing=(0, 0, 0, -60), extension=(115, 115, 115, 165)),  # 225 and 105 degrees
            {"pose": Verdict.LOOK, "back_right": Verdict.LOOK, "front_left": Verdict.OK},
            "back_right alone folded or turned out",
        ),
        (
            legs(swing=(0, 0, 25, 0)),
            {"pose": Verdict.OK, "front_right": Verdict.LOOK, "front_left": Verdict.OK},
            "legs bent",
        ),
        (
            legs(extension=(150,) * 4),
            {"pose": Verdict.LOOK, "front_left": Verdict.OK},
            "neither hang straight nor are in the stance",
        ),
    ],
)
def test_legs_are_judged_one_by_one_and_together(pose, verdicts, said):
    found = items(motor_position_rad=pose)
    assert {name: found[name].verdict for name in verdicts} == verdicts
    assert said in found["pose"].text


def test_an_encoder_zero_that_is_off_shows_in_its_leg_alone():
    position_rad = legs(extension=(180,) * 4)
    position_rad[2] -= 1.0
    found = items(motor_position_rad=position_rad)
    looks = [item.name for item in found.values() if item.verdict is Verdict.LOOK]
    assert looks == ["back_left", "pose"]
    # One of its motors reads 57 degrees less: half of that is swing, half is extension.
    assert found["back_left"].text == (
        "swing +29, extension 151 degrees (stance 0, 115); motors 123, 180 of 11 to 206: "
        "29 off the other legs: it is bent, or the zero of an encoder is wrong"
    )


def test_an_angle_that_jumps_is_a_stop():
    fine = seen()
    slipped = MINITAUR.stance_pose_rad + 0.4 * np.eye(8)[5]
    last = dataclasses.replace(fine.states[-1], motor_position_rad=slipped)
    jumped = dataclasses.replace(fine, states=(*fine.states[:-1], last))
    found = {item.name: item for item in checklist(jumped, MINITAUR, PERIOD_S)}
    assert found["encoders"].verdict is Verdict.STOP
    assert "magnet and wiring" in found["encoders"].text


@given(st.lists(st.floats(-7.0, 7.0), min_size=8, max_size=8))
def test_the_checklist_stops_at_every_pose_that_the_loop_refuses(pose):
    position_rad = np.array(pose)
    low, high = MINITAUR.motor_limits_rad
    beyond = np.maximum(low - position_rad, position_rad - high).reshape(4, 2).max(axis=1)
    found = items(number=4, motor_position_rad=position_rad)
    refused = beyond > POSE_MARGIN_RAD
    stopped = [found[name].verdict is Verdict.STOP for name in MINITAUR.leg_names]
    assert stopped == refused.tolist()
    assert (found["pose"].verdict is Verdict.STOP) == refused.any()


# ---- the look ------------------------------------------------------------------------------------


def test_a_look_reads_each_state_once_and_sends_nothing():
    clock = VirtualClock(1_000 * MS)
    robot = ScriptedRobot(clock)
    interval_ns = 10 * MS
    robot.reading = lambda number, state: dataclasses.replace(
        state, t_ns=state.t_ns // interval_ns * interval_ns
    )

    def link():
        came = clock.now_ns() // interval_ns
        return dataclasses.replace(LINK, states=came, states_lost=came // 10)

    seen = look(robot, clock, link, lambda: "folded")
    assert (len(seen.states), seen.received, seen.lost) == (101, 100, 10)
    assert (seen.seconds, seen.gap_s, seen.pose_fault) == (1.0, 0.010, "folded")
    assert robot.events == []


def test_states_that_had_waited_on_the_line_do_not_quicken_it():
    clock = VirtualClock(1_000 * MS)
    robot = ScriptedRobot(clock)
    # The first state is 100 ms old, and all since then come at once.
    robot.reading = lambda number, state: dataclasses.replace(
        state, t_ns=state.t_ns - 100 * MS * (number == 0)
    )
    links = iter((LINK, dataclasses.replace(LINK, states=550)))
    seen = look(robot, clock, lambda: next(links))
    assert checklist(seen, MINITAUR, PERIOD_S)[0].text == "500 a second, 0 lost"


def test_a_line_that_repeats_one_state_is_a_stop():
    clock = VirtualClock(1_000 * MS)
    robot = ScriptedRobot(clock)
    robot.reading = lambda number, state: dataclasses.replace(state, t_ns=0)
    seen = look(robot, clock, lambda: LINK)
    assert len(seen.states) == 1
    assert checklist(seen, MINITAUR, PERIOD_S)[0].verdict is Verdict.STOP


def test_a_robot_that_goes_away_in_the_look_says_so():
    clock = VirtualClock()
    robot = ScriptedRobot(clock)

    def lose(number, state):
        if number == 100:
            raise LinkLostError("gone")
        return state

    robot.reading = lose
    with pytest.raises(LinkLostError, match="gone"):
        look(robot, clock, lambda: LINK)


# ---- the answer ----------------------------------------------------------------------------------


def ask(answers, **fields):
    confirm(checklist(seen(**fields), MINITAUR, PERIOD_S), "Sure?", answers)


def test_yes_and_nothing_else_arms(capsys):
    ask(io.StringIO("yes\nmore"))
    printed = capsys.readouterr().out
    assert printed.endswith("Sure?\n")
    assert len(printed.splitlines()) == 12


@pytest.mark.parametrize(
    "answer", ["y\n", "Yes\n", "YES\n", "yes \n", " yes\n", "yes!\n", "no\nyes\n", "\nyes\n", "\0"]
)
def test_another_answer_is_refused(answer):
    with pytest.raises(RunError, match="nothing is armed: the answer was not yes"):
        ask(io.StringIO(answer))


def closed():
    stream = io.StringIO("yes\n")
    stream.close()
    return stream


class HungUp(io.StringIO):
    def readline(self, size=-1):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    "answers",
    [None, io.StringIO(""), closed(), HungUp(), io.TextIOWrapper(io.BytesIO(b"\xff\n"), "utf-8")],
)
def test_no_answer_is_refused(answers):
    with pytest.raises(RunError, match=r"the input ended without an answer.*echo yes \|"):
        ask(answers)


def test_what_is_to_look_at_is_named_before_the_question(capsys):
    ask(io.StringIO("yes\n"), battery_v=13.4)
    assert capsys.readouterr().out.splitlines()[-2:] == ["look first at: battery", "Sure?"]


def test_stops_are_named_in_one_line_and_nothing_is_asked(capsys):
    with pytest.raises(
        RunError, match=r"^nothing is armed: board \(and battery\): .*STALL"
    ) as stop:
        ask(io.StringIO("yes\n"), battery_v=12.0, fault=Fault.STALL)
    assert "\n" not in str(stop.value)
    assert "Sure?" not in capsys.readouterr().out


def wiggled(ok, seen, lines=("",) * 8):
    return RobotFile(wiggle=WiggleRecord("monday", ok, seen, lines))


SOME = ("front_leftL: ok", "front_leftR: ok", *(f"{name}: not tried" for name in "abcdef"))


@pytest.mark.parametrize(
    ("robot", "verdict", "said"),
    [
        (None, Verdict.LOOK, "no robot file: `minitaur wiggle"),
        (RobotFile(), Verdict.LOOK, "never wiggled"),
        (wiggled(True, True), Verdict.OK, "on monday"),
        (wiggled(True, False), Verdict.LOOK, "by encoders only: wiggle with a person"),
        (wiggled(False, True), Verdict.STOP, "mend that, and wiggle again"),
        (wiggled(False, False), Verdict.STOP, "mend that, and wiggle again"),
        (wiggled(False, True, SOME), Verdict.STOP, "tried 2 of 8 motors: wiggle all of them"),
    ],
)
def test_a_robot_that_wiggled_wrongly_is_not_armed(robot, verdict, said):
    _, item = bring_up(robot)
    assert (item.name, item.verdict) == ("wiring", verdict)
    assert said in item.text


@pytest.mark.parametrize(
    ("robot", "verdict", "said"),
    [
        (None, Verdict.LOOK, "no robot file: `minitaur zero"),
        (RobotFile("rex"), Verdict.LOOK, "rex was never zeroed: `minitaur zero"),
        (
            RobotFile("rex", (0.1, -0.2) + (0.0,) * 6, "monday"),
            Verdict.OK,
            "rex, zeroed on monday, the largest -11.5 degrees",
        ),
    ],
)
def test_whose_zeros_a_run_takes_is_shown(robot, verdict, said):
    item, _ = bring_up(robot)
    assert (item.name, item.verdict) == ("zeros", verdict)
    assert said in item.text


def test_what_would_end_the_run_at_once_is_a_stop():
    """By the run's own rules; the loop would refuse it after the yes."""
    rules = dataclasses.replace(
        NO_REACTIONS, battery=Rule(warn=15.0, sit=14.0), winding=Rule(sit=60.0)
    )

    def verdicts(rules, **fields):
        found = checklist(seen(**fields), MINITAUR, PERIOD_S, rules=rules)
        return {item.name: item for item in found if item.verdict is Verdict.STOP}

    hot = {"winding_temperature_c": np.arange(53.0, 61.0)}
    assert verdicts(NO_REACTIONS, battery_v=13.9, **hot) == {}
    stops = verdicts(rules, battery_v=13.9, **hot)
    assert [*stops] == ["battery", "windings"]
    assert stops["battery"].text == ("13.90 V before arming, bound 14.00 V: charge the battery")
    assert "60.0 degC before arming" in stops["windings"].text
    assert [*verdicts(DEFAULT_RULES, battery_v=DEFAULT_RULES.battery.sit)] == ["battery"]


def test_what_was_typed_before_the_question_is_no_answer():
    """Over a real terminal: an impatient yes is thrown away, and the next line counts."""
    typist, terminal = os.openpty()
    asked = threading.Event()

    def type_no():
        while not asked.wait(0.05):
            os.write(typist, b"no\n")

    os.write(typist, b"yes\n")
    thread = threading.Thread(target=type_no)
    thread.start()
    try:
        with (
            open(terminal, encoding="utf-8") as answers,
            pytest.raises(RunError, match="the answer was not yes"),
        ):
            ask(answers)
    finally:
        asked.set()
        thread.join()
        os.close(typist)
