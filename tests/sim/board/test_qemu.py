"""The image for the Cortex-M4 boots, talks, drives and protects; in QEMU, with its own clock.

Most tests are host and plant themselves and see each drive frame; they hold for any speed of QEMU,
for they wait for messages. The last ones run `python -m sim.board.qemu`, all of it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from support.processes import PATIENCE_S, has_ended, orphan, run_python, until
from support.scripted_board import ROBOT_HASH

from robot_firmware_bridge.errors import LinkError, LinkLostError
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.messages import Fault, Mode, MotorCommand
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action, Result
from robot_firmware_bridge.protocol.wire import (
    Command,
    Decoder,
    DriveFrame,
    Hello,
    Identity,
    Reply,
    Request,
    SensorsFrame,
    State,
    encode,
)
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot
from sim.board.qemu import Qemu

ANSWER_S = 20.0  # patience with an answer


class Bench:
    """Host and plant of a board in QEMU, both at once and in the test's own thread."""

    def __init__(self, image):
        self.qemu = Qemu(image)
        self.answering = True
        self.position = np.full(8, 2.0)
        self.velocity = np.zeros(8)
        self.received = []
        self._from_plant, self._from_host = Decoder(), Decoder()
        self._noise = np.random.default_rng(0)
        self._sequence = 0

    def pump(self):
        drives = self._from_plant.feed(self.qemu.read_drive())
        self.received += drives
        if drives and self.answering:
            self._answer(drives[-1].tick)
        self.received += self._from_host.feed(self.qemu.read_host())
        time.sleep(0.0005)

    def _answer(self, tick):
        imu = self._noise.normal(0.0, 1e-3, 6)
        housing = np.full(8, np.nan)
        frame = SensorsFrame(tick, self.position, self.velocity, imu[:3], imu[3:], 16.0, housing)
        self.qemu.write_sensors(encode(frame))

    def wait(self, kind, matches=lambda message: True, meanwhile=None):
        """Return the first message of a kind that matches and came after the call.

        ``meanwhile`` is done every 20 ms, well within the life of a command.
        """
        self.received.clear()
        end_s = time.monotonic() + ANSWER_S
        due_s = 0.0
        while time.monotonic() < end_s:
            if meanwhile is not None and time.monotonic() >= due_s:
                meanwhile()
                due_s = time.monotonic() + 0.02
            self.pump()
            for message in self.received:
                if isinstance(message, kind) and matches(message):
                    return message
        raise AssertionError(f"nothing that matches; the last were {self.received[-3:]}")

    def send(self, message):
        self.qemu.write_host(encode(message))

    def hello(self, robot_hash=ROBOT_HASH):
        """Again and again, as hosts do: a board that is starting receives nothing."""
        hello = Hello(PROTOCOL_HASH, robot_hash, 2, 0)
        return self.wait(Identity, meanwhile=lambda: self.send(hello))

    def request(self, action):
        self._sequence = self._sequence % 0xFFFF + 1
        sequence = self._sequence
        self.send(Request(sequence, action))
        return self.wait(Reply, lambda reply: reply.sequence == sequence)

    def command(self):
        """To 2.1 rad, with damping and the longest life."""
        self._sequence = self._sequence % 0xFFFF + 1
        kd = LIMITS.damping_kd  # so that the board damps by its encoders
        self.send(Command(self._sequence, LIMITS.max_valid_ms, 1.0, kd, np.full(8, 2.1)))

    def ready(self):
        """A fresh board, introduced and armed."""
        boots = self.restart()
        self.hello()
        self.wait(State, lambda state: state.fault == 0)
        assert self.request(Action.ARM).result == Result.DONE
        return boots

    def restart(self):
        """Power-on for all that the firmware can know; returns its number."""
        self.answering = True
        self.velocity[:] = 0.0
        self._sequence = 0
        self.qemu.reset()
        self.wait(DriveFrame, lambda drive: drive.tick == 0)
        return self.hello().boot_count

    @contextlib.contextmanager
    def debugger(self):
        """QEMU's debugger, as a probe on a real board's pins; the firmware stands still."""
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as probe:
            server = f"gdbserver unix:{folder}/gdb,server=on,wait=off"
            self.qemu._ask("human-monitor-command", **{"command-line": server})
            end_s = time.monotonic() + ANSWER_S
            while probe.connect_ex(f"{folder}/gdb") != 0 and time.monotonic() < end_s:
                self.pump()  # with no reader of its drives, QEMU would wait for ever
            probe.settimeout(ANSWER_S)
            yield probe
            gdb(probe, b"D")


def gdb(probe, packet, until=b"$OK#"):
    """Order something from the debugger, and see it done."""
    probe.send(b"$%s#%02x" % (packet, sum(packet) % 256))
    answer = b""
    while until not in answer:
        answer += probe.recv(4096)
    probe.send(b"+")


@pytest.fixture(scope="module")
def bench(firmware_image):
    bench = Bench(firmware_image)
    bench.wait(DriveFrame, lambda drive: drive.tick > 0)
    yield bench
    bench.qemu.close()


def test_says_who_it_is_and_what_it_bears(bench):
    bench.restart()
    identity = bench.hello()
    assert identity.protocol_hash == PROTOCOL_HASH
    assert identity.robot_hash == ROBOT_HASH
    assert identity.state_interval_ms == 2
    assert identity.board_id.rstrip(b"\0") == b"qemu"
    assert identity.max_kp == pytest.approx(LIMITS.max_kp)
    assert identity.max_current_a == pytest.approx(LIMITS.max_current_a)
    state = bench.wait(State)
    assert (state.mode, state.fault) == (Mode.DISARMED, 0)
    np.testing.assert_allclose(state.motor_position_rad, 2.0, atol=1e-4)
    assert state.battery_v == pytest.approx(16.0, abs=0.01)


def test_ready_holds_no_torque_and_the_first_command_drives(bench):
    bench.ready()
    assert bench.wait(State).mode == Mode.READY
    assert not bench.wait(DriveFrame).enabled
    active = bench.wait(State, lambda state: state.mode == Mode.ACTIVE, meanwhile=bench.command)
    assert active.command_echo > 0
    # kp 1 duty/rad, target 2.1, at 2.0 rad and at rest: 0.1, less while the soft start lasts.
    drive = bench.wait(DriveFrame, lambda drive: drive.duty[0] > 0.0995, meanwhile=bench.command)
    assert drive.enabled
    np.testing.assert_allclose(drive.duty, 0.1, atol=2e-4)
    # 0.1 of 16 V over 0.186 ohm is 8.6 A; the curve gives 1 Nm at 10 A.
    state = bench.wait(State, meanwhile=bench.command)
    np.testing.assert_allclose(state.motor_torque_nm, 0.86, atol=2e-3)


def test_without_commands_it_damps_until_it_is_cleared(bench):
    bench.ready()
    bench.wait(State, lambda state: state.mode == Mode.ACTIVE, meanwhile=bench.command)
    bench.velocity[:] = 2.0
    state = bench.wait(State, lambda state: state.mode == Mode.DAMPING)
    assert state.fault == Fault.COMMAND_TIMEOUT
    # 0.015 duty s/rad against 2 rad/s.
    damping = bench.wait(DriveFrame, lambda drive: bool(drive.enabled))
    np.testing.assert_allclose(damping.duty, -0.03, atol=1e-5)
    bench.command()
    assert bench.request(Action.ARM).result == Result.FAULTY
    assert bench.wait(State).mode == Mode.DAMPING
    reply = bench.request(Action.CLEAR_FAULT)
    assert (reply.result, reply.mode, reply.fault) == (Result.DONE, Mode.DISARMED, 0)
    assert not bench.wait(DriveFrame, lambda drive: drive.tick > damping.tick + 5).enabled


def test_the_host_of_another_robot_may_stop_it_and_nothing_else_and_the_stop_latches(bench):
    bench.restart()
    assert bench.hello(ROBOT_HASH ^ 1).robot_hash == ROBOT_HASH
    assert bench.request(Action.ARM).result == Result.NOT_INTRODUCED
    reply = bench.request(Action.EMERGENCY_STOP)
    assert (reply.mode, reply.fault) == (Mode.DAMPING, Fault.EMERGENCY_STOP)
    bench.hello()
    assert bench.request(Action.ARM).result == Result.FAULTY
    assert bench.request(Action.CLEAR_FAULT).result == Result.DONE
    assert bench.request(Action.ARM).result == Result.DONE


def test_a_damaged_frame_is_counted_and_costs_no_other(bench):
    bench.restart()
    bench.hello()
    before = bench.wait(State).bad_frames
    good = encode(Request(901, Action.DISARM))
    for place in range(1, len(good) - 1):
        bad = bytearray(encode(Request(900, Action.EMERGENCY_STOP)))
        bad[place] ^= 0x40
        bench.qemu.write_host(bytes(bad))
    bench.qemu.write_host(good)
    reply = bench.wait(Reply)
    assert (reply.sequence, reply.mode) == (901, Mode.DISARMED)
    assert bench.wait(State).bad_frames - before == len(good) - 2


def test_reset_is_a_new_start(bench):
    boots = bench.ready()
    bench.wait(State, lambda state: state.mode == Mode.ACTIVE, meanwhile=bench.command)
    bench.qemu.reset()
    bench.wait(DriveFrame, lambda drive: drive.tick == 0 and not drive.enabled)
    bench.command()
    again = bench.wait(DriveFrame, lambda drive: drive.tick > 5)
    assert not again.enabled
    assert not any(isinstance(message, State) for message in bench.received)
    assert bench.hello().boot_count == boots + 1
    state = bench.wait(State)
    assert (state.mode, state.boot_count) == (Mode.DISARMED, boots + 1)


def test_a_plant_that_falls_silent_opens_the_bridges(bench):
    bench.ready()
    bench.wait(State, lambda state: state.mode == Mode.ACTIVE, meanwhile=bench.command)
    bench.answering = False
    state = bench.wait(State, lambda state: state.mode == Mode.FAULT, meanwhile=bench.command)
    assert state.fault & Fault.ENCODER
    silent = bench.wait(DriveFrame)
    assert not silent.enabled
    assert bench.request(Action.CLEAR_FAULT).result == Result.FAULTY
    bench.answering = True
    # The filter of the battery takes its time, too.
    bench.wait(DriveFrame, lambda drive: drive.tick > silent.tick + 1000)
    assert bench.request(Action.CLEAR_FAULT).mode == Mode.DISARMED


def test_a_crash_opens_the_bridges_and_starts_anew(bench, firmware_image):
    boots = bench.ready()
    bench.wait(State, lambda state: state.mode == Mode.ACTIVE, meanwhile=bench.command)
    poll = address_of("firmware_poll", firmware_image)
    start = address_of("reset_handler", firmware_image)
    with bench.debugger() as probe:
        gdb(probe, b"M%x,2:00de" % poll)  # an undefined instruction where the main loop goes
        gdb(probe, b"Z0,%x,2" % start)  # stop before it starts again: its last word is the fault's
        gdb(probe, b"c", b"T05")
        release = bench.wait(DriveFrame, lambda drive: drive.tick == 0)
        assert not release.enabled
        gdb(probe, b"z0,%x,2" % start)
        gdb(probe, b"M%x,2:%s" % (poll, code_at(firmware_image, poll).hex().encode()))
    identity = bench.hello()
    assert identity.boot_count > boots
    assert bench.wait(State).mode == Mode.DISARMED


def address_of(symbol, image):
    table = subprocess.run(["arm-none-eabi-nm", image], capture_output=True, text=True).stdout
    return next(int(line.split()[0], 16) for line in table.splitlines() if line.endswith(symbol))


def code_at(image, address):
    start = address - 0x0800_0000
    return image.with_suffix(".bin").read_bytes()[start : start + 2]


# The command.


@pytest.fixture
def command(start, firmware_image):
    """`python -m sim.board.qemu`, with its port announced."""
    return start("--image", firmware_image, module="sim.board.qemu")


def qemu_of(command):
    """Return the number of the process of QEMU that the command started."""
    pid = command._process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def test_a_host_moves_the_legs_of_the_simulated_robot(command, tmp_path):
    assert command.port == str(tmp_path / "port")
    robot = SerialRobot(SerialLink(command.port))
    start = robot.read().motor_position_rad
    robot.activate()
    target = start + 0.1
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        # On a busy machine this process or the board may have no turn for so long that a command
        # runs out, or that the board is greeted again: the robot is then armed anew.
        with contextlib.suppress(LinkError):
            robot.write(MotorCommand(target, 2.0, 0.015, 150_000_000))
        try:
            state = robot.read()
        except LinkLostError:
            robot.deactivate()
            state = robot.read()
        if state.fault is Fault.COMMAND_TIMEOUT or state.mode is Mode.DISARMED:
            with contextlib.suppress(LinkError):
                robot.clear_fault()
                robot.activate()
            continue
        assert state.fault is Fault.NONE
        if (state.motor_position_rad - start).mean() > 0.02:
            break
        time.sleep(0.01)
    assert (state.motor_position_rad - start).mean() > 0.02
    assert np.abs(state.motor_torque_nm).max() > 0.0
    robot.close()
    command.inject("reset")
    command.inject("quit")
    command.expect("end")
    assert command.exit_code() == 0
    command.expect("mode", mode="ACTIVE")
    command.expect("off_stand")
    assert not (tmp_path / "port").is_symlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_qemu_outlives_the_command(command, number):
    qemu = qemu_of(command)
    command.send_signal(number)
    command.exit_code()
    until(lambda: has_ended(qemu))


def test_it_ends_with_its_parent_and_leaves_no_link(firmware_image, tmp_path):
    board = orphan("sim.board.qemu", "--image", firmware_image, "--link", tmp_path / "port")
    until(lambda: has_ended(board))
    assert not (tmp_path / "port").is_symlink()


def test_missed_ticks_are_reported(command):
    command.expect("boot")
    os.kill(qemu_of(command), signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(qemu_of(command), signal.SIGCONT)
    late = command.wait_event(lambda event: event.get("at_once", 0) > 100, PATIENCE_S)
    assert late["event"] == "late"
    assert late["skipped_ticks"] >= late["at_once"]


def refusal(*arguments, **environment):
    run = run_python("-m", "sim.board.qemu", *arguments, **environment)
    assert run.returncode == 2
    assert run.stdout == ""
    return run.stderr.strip().splitlines()


@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="not installed: qemu-system-arm")
def test_a_missing_image_is_an_error_with_its_cure(tmp_path):
    (line,) = refusal("--image", tmp_path / "none.elf")
    assert line.startswith("error: no image")
    assert line.endswith("make -C robot_firmware_bridge/firmware")


def test_a_missing_qemu_is_an_error_with_its_cure(tmp_path):
    (line,) = refusal(PATH=str(tmp_path))
    assert "no qemu-system-arm" in line
    assert "apt-get install qemu-system-arm" in line
