"""Messages are values; the numbers of modes and faults travel on the wire and must stay."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from robot_firmware_bridge.messages import Fault, Mode, MotorCommand, fault_names


def test_mode_numbers():
    names = ["DISARMED", "READY", "ACTIVE", "DAMPING", "FAULT"]
    assert [(mode.value, mode.name) for mode in Mode] == list(enumerate(names))


def test_fault_bits_are_distinct_and_stable():
    names = ["OVERHEAT", "UNDERVOLTAGE", "COMMAND_TIMEOUT", "STALL", "EMERGENCY_STOP", "ENCODER"]
    names += ["IMU", "OVERCURRENT"]
    assert {fault.name: fault.value for fault in Fault} == {n: 1 << i for i, n in enumerate(names)}
    assert not Fault.NONE


def test_several_faults_travel_together():
    both = Fault.OVERHEAT | Fault.STALL
    assert Fault(int(both)) == both
    assert [fault.name for fault in both] == ["OVERHEAT", "STALL"]


def test_faults_are_named_for_people_also_those_of_a_newer_board():
    assert fault_names(Fault.NONE) == "none"
    assert fault_names(Fault.OVERHEAT | Fault.IMU) == "OVERHEAT, IMU"
    assert fault_names(Fault(0x408)) == "STALL, 0x400"


def test_a_command_cannot_be_changed_after_it_was_made():
    command = MotorCommand(np.zeros(8), 1.0, 0.015, 100)
    with pytest.raises(dataclasses.FrozenInstanceError):
        command.kp = 2.0
