"""Nudges of wrongly wired robots: what is said of each, how far they move, and how they end."""

import random

import numpy as np
import pytest

from deploy.bringup.nudge import MOVED_RAD, Nudge
from deploy.bringup.robot_file import RobotFile, WiggleRecord, read_robot_file
from deploy.bringup.verdict import NAMES, Sight, judge, lines
from deploy.bringup.wiggle import Options, Wiggle, parse_sight, wiggle
from deploy.errors import RunError
from robot_firmware_bridge.errors import MotorsOnError
from sim.board.console import parse_order

KINDS = ("core", "stock")
# What a person reads of each mistake, of its first and of its second motor.
SAID = {
    "swap": ("swapped with {b}", "swapped with {a}"),
    "swap-drives": ("drive swapped with {b}", "drive swapped with {a}"),
    "swap-encoders": ("encoder of {a} swapped with {b}", "encoder of {b} swapped with {a}"),
    "flip": ("sign flipped of drive and encoder",),
    "flip-drive": ("drive sign flipped",),
    "flip-encoder": ("encoder sign flipped",),
    "unplug": ("did not move: no power, unplugged or jammed",),
    "unplug-encoder": ("moved, but the encoder of {a} saw nothing",),
}


def wrong_robots(count, seed):
    """Return wirings of one or two mistakes at other motors, and what must be said of them."""
    dice = random.Random(seed)
    robots = []
    verbs = list(SAID)
    for number in range(count):
        motors = dice.sample(range(8), 8)
        mistakes, said = [], {}
        # Every mistake in turn on every board, and every third robot has another one besides.
        board, mistake = divmod(number, len(verbs))
        for verb in [verbs[mistake], *dice.sample(verbs, number % 3 == 2)]:
            phrases = SAID[verb]
            chosen = [motors.pop() for _ in phrases]
            mistakes.append(" ".join([verb, *map(str, chosen)]))
            a, b = NAMES[chosen[0]], NAMES[chosen[-1]]
            said |= {
                motor: phrase.format(a=a, b=b)
                for motor, phrase in zip(chosen, phrases, strict=True)
            }
        said[motors.pop()] = "ok"
        robots.append(pytest.param(KINDS[board % 2], ", ".join(mistakes), said))
    return robots


@pytest.mark.parametrize(("kind", "wiring", "said"), wrong_robots(16, seed=7))
def test_a_wrongly_wired_robot_is_told_by_its_mistakes(on_a_stand, kind, wiring, said):
    stand = on_a_stand(kind, wiring)
    series = Wiggle(stand.rig, stand.person, sorted(said))
    series.run()
    assert series.ended == ""
    assert {motor: verdict.line() for motor, verdict in series.verdicts.items()} == {
        motor: f"{NAMES[motor]}: {text}" for motor, text in said.items()
    }
    assert not series.ok


@pytest.mark.parametrize("kind", KINDS)
def test_a_rightly_wired_robot_is_ok_and_its_file_says_so(on_a_stand, kind, tmp_path, capsys):
    stand, path = on_a_stand(kind, motor_strength_scale=0.8), tmp_path / "robot.json"
    assert wiggle(Options(robot_file=path), stand.rig, stand.person, "2026-12-01")
    record = read_robot_file(path).wiggle
    assert record.ok
    assert record.seen
    assert record.motors == tuple(f"{name}: ok" for name in NAMES)
    assert "wired rightly" in capsys.readouterr().out
    assert stand.robot.armings == 8
    assert stand.motors_are_safe()


@pytest.mark.parametrize(
    ("kind", "wiring", "most_deg"),
    [
        ("core", "flip-drive 3", 8.0),
        ("stock", "flip-drive 3", 11.0),
        ("stock", "swap-drives 2 3", 8.0),
        ("core", "unplug-encoder 3", 16.0),
        ("stock", "unplug-encoder 3", 16.0),
    ],
)
def test_a_wrongly_wired_leg_moves_only_so_far(on_a_stand, kind, wiring, most_deg):
    stand = on_a_stand(kind, wiring)
    Wiggle(stand.rig, stand.person, [3]).run()
    assert 2.0 < np.degrees(np.abs(stand.robot.moved_rad).max()) < most_deg
    assert stand.motors_are_safe()


def test_some_motors_may_be_tried_which_is_no_ok_for_all(on_a_stand, tmp_path):
    stand, path = on_a_stand("core"), tmp_path / "robot.json"
    options = Options(robot_file=path, motors=(1,))
    assert wiggle(options, stand.rig, stand.person, "2026-12-01")
    record = read_robot_file(path).wiggle
    assert not record.ok
    assert record.motors[:2] == ("front_leftL: not tried", "front_leftR: ok")


@pytest.mark.parametrize("motors", [(), (1, 1)])
def test_no_motors_and_repeated_ones_are_refused(motors):
    with pytest.raises(RunError, match="motors must be numbers, each once"):
        Options(motors=motors).check_motors()


def test_a_series_of_none_or_one_that_was_ended_is_no_ok(on_a_stand):
    stand = on_a_stand("core")
    series = Wiggle(stand.rig, stand.person, [])
    series.run()
    assert not series.ok
    series = Wiggle(stand.rig, stand.person, [0])
    series.run()
    assert series.ok
    series.ended = "you ended it"
    assert not series.ok


def test_an_interrupted_wiggle_leaves_no_older_ok(on_a_stand, tmp_path):
    stand, path = on_a_stand("core"), tmp_path / "robot.json"
    RobotFile(wiggle=WiggleRecord("monday", True, True, ("ok",) * 8)).save(path)

    def interrupt(command):
        raise KeyboardInterrupt

    stand.robot.write = interrupt
    with pytest.raises(KeyboardInterrupt):
        wiggle(Options(robot_file=path), stand.rig, stand.person, "tuesday")
    record = read_robot_file(path).wiggle
    assert (record.date, record.ok) == ("tuesday", False)
    assert stand.motors_are_safe()


def test_after_the_last_enter_the_legs_are_looked_at_again(on_a_stand):
    stand = on_a_stand("core", "", 2.9)  # too straight to be nudged
    bend = stand.bench.board.plant
    answer = stand.person.answer

    def do_it_at_last(question):
        if "Enter" not in question:
            return answer(question)
        stand.person.asked.append(question)
        if len(stand.person.asked) == 3:
            bend.slip_encoder(0, -0.6)  # as good as bent
            for motor in range(1, 8):
                bend.slip_encoder(motor, -0.6)
        return ""

    stand.person.answer = do_it_at_last
    series = Wiggle(stand.rig, stand.person, [0])
    series.run()
    assert series.ended == ""
    assert series.ok


def test_without_a_person_encoders_tell_what_they_can(on_a_stand):
    stand = on_a_stand("core", "swap-drives 0 1, flip-encoder 4, unplug 6")
    series = Wiggle(stand.rig, None, [0, 4, 6, 7])
    series.run()
    assert [series.verdicts[motor].line() for motor in (0, 4, 6, 7)] == [
        "front_leftL: swapped with front_leftR (drive or encoder)",
        "front_rightL: sign flipped (of drive or encoder)",
        "back_rightL: no encoder moved: the motor has no power, is jammed, or its encoder is "
        "unplugged",
        "back_rightR: ok",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_in_a_nudge_ends_it_with_motors_safe(on_a_stand, kind):
    stand = on_a_stand(kind)
    write = stand.robot.write

    def write_and_unplug(command):
        if len(stand.robot.writes) == 5:
            parse_order("drop 1").act(stand.bench.board)
        return write(command)

    stand.robot.write = write_and_unplug
    series = Wiggle(stand.rig, stand.person)
    if kind == "stock":  # this stack's firmware damps by itself
        with pytest.raises(MotorsOnError, match="cut the power of the motors, which may be on"):
            series.run()
    else:
        series.run()
        assert "stale_state" in series.ended
    assert not series.ok
    assert stand.person.asked == []  # nobody is sent near the legs
    assert lines(series.verdicts)[0] == "front_leftL: not tried"
    parse_order("drop 0").act(stand.bench.board)
    if kind == "stock":  # its kill did not get through; the next one does
        stand.robot.close()
    assert stand.motors_are_safe()


def test_a_low_battery_is_refused_before_anything_is_armed(on_a_stand):
    stand = on_a_stand("stock")
    stand.bench.board.plant.read_battery(11.0)
    series = Wiggle(stand.rig, stand.person)
    series.run()
    assert "battery_low" in series.ended
    assert stand.robot.armings == 0


def test_a_leg_that_reads_a_whole_turn_off_is_not_moved(on_a_stand):
    stand = on_a_stand("core", "offset 2 6.2832")
    stand.person.answers = ["stop"]
    series = Wiggle(stand.rig, stand.person)
    series.run()
    assert "motor back_leftL reads 463 degrees" in series.ended
    assert "minitaur zero" in series.ended
    assert stand.robot.armings == 0


def test_the_stock_board_is_not_asked_for_a_pose_that_it_cannot_command(on_a_stand):
    stand = on_a_stand("stock", "offset 2 0.4, offset 3 0.4")
    series = Wiggle(stand.rig, stand.person)
    series.run()
    assert "cannot command motor back_left" in series.ended
    assert stand.motors_are_safe()


def test_the_person_may_look_again_or_stop(on_a_stand):
    stand = on_a_stand("core")
    stand.person.answers = ["again", "what?", "fll up", "stop"]
    series = Wiggle(stand.rig, stand.person)
    series.run()
    assert series.verdicts.keys() == {0}
    assert series.ended == "you ended it"
    assert stand.robot.armings == 3


@pytest.mark.parametrize(
    ("text", "sight"),
    [
        ("fll up", Sight(0, True)),
        ("BR-R down", Sight(7, False)),
        ("bl l u", Sight(2, True)),
        ("none", Sight(None)),
        ("flx up", None),
        ("fll", None),
        ("", None),
    ],
)
def test_an_answer_is_leg_side_and_direction(text, sight):
    assert parse_sight(text) == sight


def nudged(**moved_rad):
    moved = np.zeros(8)
    for motor, angle in moved_rad.items():
        moved[int(motor[1:])] = angle
    return Nudge(0, moved)


def test_a_drive_and_an_encoder_in_two_other_places_are_both_named():
    verdict = judge(nudged(m3=-0.1), Sight(5))
    assert verdict.line() == (
        "front_leftL: drive swapped with front_rightR, encoder of front_rightR swapped with "
        "back_leftR"
    )


def test_what_eyes_and_encoders_do_not_agree_on_is_no_ok():
    assert "look again" in judge(nudged(m0=-0.1), Sight(None)).line()


def test_another_encoder_that_moves_as_far_is_named():
    assert judge(nudged(m0=-0.1, m4=0.09), Sight(0)).faults == ("moved too: front_rightL",)
    assert judge(nudged(m0=-0.1, m4=0.4 * MOVED_RAD), Sight(0)).ok
