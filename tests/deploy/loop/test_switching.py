"""Several policies of one run: when one hands over to another, and that nothing jumps there."""

import dataclasses
import itertools

import numpy as np
import pytest
from support.scripted_robot import PERIOD_NS

from deploy.errors import ContractError, PolicyError
from deploy.loop.loop import LOOK_STATES, ControlLoop
from deploy.loop.modes import Durations, LoopMode, ModeMachine, minimum_jerk
from deploy.policy.contract import ObservationTerm
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.policy.velocity_command import STOP, VelocityCommandSpec
from deploy.record import plots
from deploy.record.flight_log import FlightLog
from deploy.record.read_log import RunLog
from deploy.record.report import summarise
from deploy.replay import first_difference, replay
from deploy.steering import STAND, Steering
from robot_firmware_bridge.errors import BridgeError
from robot_firmware_bridge.messages import Fault
from robot_firmware_bridge.robot import MINITAUR
from sim.engines.bullet import BulletEngine
from sim.plant.params import PlantParams
from sim.plant.plant import Plant
from sim.robot import SimClock, SimRobot
from training.tasks.gaits import TROT, WALK

MS = 1_000_000
STANCE = MINITAUR.stance_pose_rad
SPEC = VelocityCommandSpec((-0.2, 0.8), (-0.5, 0.5), 10.0, 10.0)
DURATIONS = Durations(run_s=0.300, stand_up_s=0.030, finish_s=0.060, damp_s=0.018)
STAND_UP, RUN, FADE, DAMP = 5, 50, 10, 3
SHORT = {LoopMode.STAND_UP: "U", LoopMode.RUN: "R", LoopMode.SWITCH: "S", LoopMode.STAND: "-"}
SHORT |= {LoopMode.FINISH: "F", LoopMode.DAMP: "D"}


class Script:
    """Steers ahead; what is asked for at a tick of the run, counted from 0, holds on."""

    instructions = None

    def __init__(self, **at):
        self._at = {int(tick.removeprefix("tick")): steering for tick, steering in at.items()}
        self._tick, self._now = -2, Steering()  # the loop asks once before it arms

    def poll(self):
        self._tick += 1
        self._now = self._at.get(self._tick, self._now)
        return self._now

    def requested(self, t_s):
        return 0.8, 0.5


@pytest.fixture
def switched(bench, contract):
    """Runs a steered walk (0) beside a trot (1) with a longer observation, under a script."""

    def run(reading=None, policy=None, **script):
        zeros = np.zeros(8, np.float32)
        walk = dataclasses.replace(
            contract,
            velocity_command=SPEC,
            action=dataclasses.replace(contract.action, gait=WALK),
        )
        trot = dataclasses.replace(
            contract,
            observation=(*contract.observation, ObservationTerm("last_action")),
            action=dataclasses.replace(contract.action, gait=TROT),
        )
        also = [Controller(trot, policy or (lambda observation: zeros))]
        b = bench(contract=walk, durations=DURATIONS, commands=Script(**script), also=also)
        if reading is not None:
            b.robot.reading = reading
        b.loop.run()
        return b

    return run


def course(log):
    """The modes, run-length encoded, such as 'U5 R50 F10 D3'."""
    edges = np.flatnonzero(np.diff(log.mode, prepend=-1, append=-1))
    return " ".join(
        f"{SHORT[LoopMode(log.mode[at])]}{until - at}" for at, until in itertools.pairwise(edges)
    )


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({}, "U5 R50 F10 D3"),
        ({"tick15": Steering(choice=1)}, "U5 R10 S10 R30 F10 D3"),
        ({"tick15": Steering(choice=STAND)}, "U5 R10 S10 -30 D3"),
        (
            {"tick15": Steering(choice=STAND), "tick35": Steering(choice=1)},
            "U5 R10 S10 -10 R20 F10 D3",
        ),
        # Two choices within a switch: the last one counts, be it the policy that ran before.
        ({"tick15": Steering(choice=1), "tick18": Steering()}, "U5 R10 S10 R30 F10 D3"),
        ({"tick0": Steering(choice=STAND)}, "U5 -50 D3"),
        ({"tick0": Steering(choice=1)}, "U5 R50 F10 D3"),
        # A stop, or the end of the time, within a switch: the fade that has begun is the last one.
        (
            {"tick15": Steering(choice=1), "tick19": Steering(stops=1, choice=1)},
            "U5 R10 S4 F6 D3",
        ),
        ({"tick50": Steering(choice=1)}, "U5 R45 S5 F5 D3"),
        (
            {"tick15": Steering(choice=1), "tick19": Steering(stops=2, choice=1)},
            "U5 R10 S4 F1 D3",
        ),
        ({"tick15": Steering(choice=1), "tick19": Steering(lost="gone")}, "U5 R10 S4 F6 D3"),
        ({"tick15": Steering(choice=STAND), "tick30": Steering(lost="gone")}, "U5 R10 S10 -5 D3"),
        # What is chosen while the run ends is too late.
        (
            {"tick15": Steering(stops=1), "tick17": Steering(stops=1, choice=1)},
            "U5 R10 F10 D3",
        ),
    ],
)
def test_the_course_of_a_run(switched, script, expected):
    b = switched(**script)
    assert course(b.log) == expected
    assert b.loop.faults == []
    assert b.robot.events[-1] == "deactivate"


def test_the_targets_fade_into_the_stance_and_the_next_policy_begins_from_there(switched):
    b = switched(tick20=Steering(choice=1))
    log, sent = b.log, np.array([command.target_rad for command in b.robot.sent])
    switch, run = np.flatnonzero(log.mode == LoopMode.SWITCH), np.flatnonzero(log.policy == 1)
    # The reference alone, faded: the policy's own output is zero.
    walk = Controller(log.contract)
    for tick in np.flatnonzero(log.policy == 0):
        walk.requested_velocity = STOP if tick in switch else (0.8, 0.5)
        walk.observe(b.robot.read(), log.policy_t_s[tick])
        wanted = walk.targets(np.zeros(8), log.policy_t_s[tick])
        part = (tick - switch[0]) / FADE if tick in switch else 0.0
        faded = wanted + minimum_jerk(part) * (STANCE - wanted)
        np.testing.assert_allclose(sent[tick], faded, atol=1e-12)
    np.testing.assert_allclose(sent[run[0]], STANCE, atol=1e-12)
    np.testing.assert_array_equal(log.policy_t_s[run[:3]], [k * PERIOD_NS * 1e-9 for k in range(3)])
    assert np.abs(sent[run] - STANCE).max() > 0.1  # it trots


def test_no_target_jumps_and_gains_hold(switched):
    b = switched(
        tick15=Steering(choice=1), tick35=Steering(choice=STAND), tick47=Steering(choice=0)
    )
    assert course(b.log) == "U5 R10 S10 R10 S10 -2 R8 F10 D3"
    driven = b.log.kp > 0.0
    steps_rad = np.abs(np.diff(b.log.target_rad[driven], axis=0))
    assert steps_rad.max() < MINITAUR.target_rate_limit_rad_s * 0.006
    assert b.loop.saturations.rate_limited == 0
    assert set(b.log.kp[STAND_UP:-DAMP]) == {b.log.contract.kp}
    np.testing.assert_array_equal(b.log.target_rad[b.log.mode == LoopMode.STAND], [STANCE] * 2)


def test_the_velocity_command_brakes_during_a_switch_and_begins_at_zero(switched):
    b = switched(tick11=Steering(choice=STAND), tick25=Steering(choice=0))
    speed = b.log.velocity_command[:, 0]
    np.testing.assert_allclose(
        speed[5:14], [0, 0.06, 0.12, 0.18, 0.24, 0.30, 0.24, 0.18, 0.12], atol=1e-9
    )
    np.testing.assert_allclose(speed[25:28], [0, 0.06, 0.12], atol=1e-9)


def test_saturations_of_all_policies_are_counted(switched):
    b = switched(policy=lambda observation: np.full(8, 2.0, np.float32), tick0=Steering(choice=1))
    alone = b.loop.saturations.action_clipped
    b = switched(
        policy=lambda observation: np.full(8, 2.0, np.float32),
        tick0=Steering(choice=1),
        tick15=Steering(choice=0),
    )
    assert alone == RUN + FADE
    assert b.loop.saturations.action_clipped == 10 + FADE


# ---- what goes wrong meanwhile -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tick", "harm"),  # in a switch, in a stand, in which no policy works
    [(17, "fault"), (17, "link"), (17, "policy"), (27, "fault"), (27, "link")],
)
def test_a_fault_in_a_switch_or_a_stand_damps_at_once(switched, tick, harm):
    def reading(n, state):
        if n < LOOK_STATES + tick or harm == "policy":
            return state
        if harm == "link":
            raise BridgeError("no answer")
        return dataclasses.replace(state, fault=Fault.OVERHEAT)

    def policy(observation):
        if policy.calls == tick - 15 + 10:
            raise PolicyError("no output")
        policy.calls += 1
        return np.zeros(8, np.float32)

    policy.calls = 0
    b = switched(
        reading=reading,
        policy=policy,
        tick0=Steering(choice=1),
        tick15=Steering(choice=STAND),
    )
    names = {"fault": "robot_fault", "link": "robot_link", "policy": "policy_error"}
    assert b.fault_names == [names[harm]]
    assert b.robot.events[-1] == "deactivate"
    if harm != "link":
        assert course(b.log) == f"U5 R10 {'S2' if tick == 17 else 'S10 -2'} D3"
        assert [command.kp for command in b.robot.sent[-DAMP:]] == [0.0] * DAMP


@pytest.mark.parametrize(
    ("field", "value"),
    [("board", "stock"), ("control_period_s", 0.01), ("kp", 0.5), ("kd", 0.01)],
)
def test_policies_that_differ_in_what_a_run_has_once_are_refused(bench, contract, field, value):
    other = Controller(dataclasses.replace(contract, **{field: value}))
    with pytest.raises(ContractError, match=rf"contract\.{field} is {value}, that of the run's"):
        bench(also=[other])


def test_a_switch_is_a_function_of_the_times_passed_in():
    modes = ModeMachine(Durations(0.4, 0.2, 0.1, 0.1), STANCE)
    modes.begin(0, STANCE)
    assert modes.policy == STAND
    assert modes.update(200 * MS, 0) is LoopMode.RUN
    assert modes.update(250 * MS, 0, 3) is LoopMode.SWITCH
    assert modes.policy == 0
    wanted = np.linspace(1.5, 2.5, 8)
    np.testing.assert_allclose(modes.fade(wanted, 300 * MS), (wanted + STANCE) / 2)
    assert modes.update(325 * MS, 1, 3) is LoopMode.FINISH
    np.testing.assert_allclose(modes.fade(wanted, 350 * MS), STANCE)
    assert modes.update(350 * MS, 1, 3) is LoopMode.DAMP


# ---- what is recorded ----------------------------------------------------------------------------


def test_the_log_says_which_policy_ran_and_keeps_its_own_observation(switched, tmp_path):
    b = switched(tick15=Steering(choice=1), tick35=Steering(choice=STAND))
    b.log.save(tmp_path / "run.npz")
    log = FlightLog.load(tmp_path / "run.npz")
    expected = [-1] * STAND_UP + [0] * 20 + [1] * 20 + [-1] * (10 + DAMP)
    assert log.policy.tolist() == expected
    assert [len(contract.observation) for contract in log.contracts] == [2, 3]
    first, second = log.policy == 0, log.policy == 1
    size = b.controller.observation_size
    assert np.isfinite(log.observation[first, :size]).all()
    assert np.isnan(log.observation[first, size:]).all()
    assert np.isfinite(log.observation[second]).all()
    assert log.observation.shape[1] == size + 8
    assert np.isnan(log.action[log.policy == STAND]).all()


def test_a_report_of_several_policies_has_the_figures_that_make_sense(switched, tmp_path):
    for script, tracked in (
        ({"tick15": Steering(choice=STAND), "tick30": Steering(choice=0)}, True),
        ({"tick15": Steering(choice=1)}, False),
        ({"tick0": Steering(choice=STAND)}, False),
    ):
        b = switched(**script)
        report = summarise(b.log, b.loop.faults, policy="walk", robot="sim")
        report.to_json()  # no NaN
        assert (report.yaw_rate_error_rad_s is not None) is tracked
        plots.draw(b.log, report, tmp_path / "run.png")


# ---- on the plant --------------------------------------------------------------------------------


def test_the_robot_walks_trots_and_stands():
    """Shipped policies in PyBullet: ahead, switched in full stride twice, and never tilted."""
    walk, trot = (OnnxPolicy.load(name, MINITAUR) for name in ("walk", "trot"))
    plant = Plant(BulletEngine())
    plant.reset(PlantParams())
    clock = SimClock(plant)
    robot = SimRobot(plant, clock)
    loop = ControlLoop(
        robot,
        clock,
        Controller(walk.contract, walk),
        Durations(run_s=5.0, stand_up_s=0.5, finish_s=1.0, damp_s=0.1),
        odometry=robot,
        commands=Script(tick283=Steering(choice=1), tick683=Steering(choice=STAND)),
        also=[Controller(trot.contract, trot)],
    )
    loop.run()
    plant.close()
    assert loop.faults == []
    log = loop.log()
    x, height = log.base_position_m[:, 0], log.base_position_m[:, 2]
    acting = log.mode == LoopMode.RUN
    for policy, least_mps in ((0, 0.3), (1, 0.6)):
        ticks = np.flatnonzero(acting & (log.policy == policy))
        assert (x[ticks[-1]] - x[ticks[0]]) / (0.006 * len(ticks)) > least_mps
    stand = np.flatnonzero(log.mode == LoopMode.STAND)
    assert len(stand) > 50
    assert np.ptp(x[stand]) < 0.15  # it rocks back on its legs
    upright = log.mode != LoopMode.DAMP
    assert height[upright].min() > 0.12
    assert np.abs(log.rpy_rad[upright, :2]).max() < 0.5
    # What each of them decided can be repeated from the log.
    run = RunLog(log, np.arange(len(log)), {"durations": {"finish_s": 1.0}})
    steps = list(replay(run, [(each.contract, each) for each in (walk, trot)], own=True))
    assert len(steps) == np.isfinite(log.policy_t_s).sum()
    assert first_difference(log, steps) is None
