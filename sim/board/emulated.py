"""The emulated motor controller: the board's own firmware on a simulated robot and a serial line.

The C core that runs on the board runs here, compiled for this machine, a millisecond at a time.
The time of each tick is an argument: ``sim.board`` runs in real time and ``sim.board.lockstep`` on
a virtual clock.
"""

from __future__ import annotations

from robot_firmware_bridge.firmware.library import FirmwareBoard, Sensors
from sim.board.plant import BoardPlant
from sim.board.serial_line import SerialLine
from sim.board.watch import Report, Watch
from sim.plant.params import TICK_NS

# Tilt is looked at this often; a fall takes a hundred times as long.
_FALL_CHECK_NS = 10 * TICK_NS
_CLOCK_MASK = 0xFFFFFFFF


class EmulatedBoard:
    """Firmware, robot and line. One a process: the firmware's memory is the library's.

    Args:
        plant: The robot.
        line: The line to the host.
        baud: What the firmware takes for the line's rate.
        report: Told of boots, modes, faults, falls, and of the robot's coming on and off its stand.
    """

    def __init__(self, plant: BoardPlant, line: SerialLine, baud: int, report: Report) -> None:
        self.plant = plant
        self.line = line
        self.t_ns = 0
        self._baud = baud
        self._report = report
        self._firmware = FirmwareBoard()
        self._sensors = Sensors()
        self._watch = Watch(report)
        self._boots = 0
        self._booted_ns = 0
        self._fallen = False

    def reset(self) -> None:
        """Start the firmware, or restart it, with its clock from 0; the robot goes on as it is."""
        self._boots += 1
        self._booted_ns = self.t_ns
        self._firmware.start(self._boots, self._baud)
        self._watch.restart()
        self._report("boot", boot_count=self._boots)

    def tick(self, t_ns: int) -> None:
        """Run the millisecond that begins at ``t_ns``; the firmware has been started."""
        self.t_ns = t_ns
        heard = self.line.to_board.receive(t_ns)
        if heard:
            self._firmware.receive(heard)
        self.plant.sense(self._sensors)
        device_us = (t_ns - self._booted_ns) // 1000 & _CLOCK_MASK
        drive = self._firmware.tick(device_us, self._sensors)
        said = self._firmware.transmit()
        self.line.to_host.send(said, t_ns)
        self._watch.see(t_ns, heard, said)
        on_stand = self.plant.on_stand
        self.plant.advance(drive)
        if on_stand != self.plant.on_stand:
            self._fallen = False
            self._report("on_stand" if self.plant.on_stand else "off_stand")
        if t_ns % _FALL_CHECK_NS == 0:
            self._check_fall()

    def _check_fall(self) -> None:
        plant = self.plant.plant
        tilt_rad = plant.truth().tilt_rad
        if not self._fallen and tilt_rad > plant.robot.max_tilt_rad:
            self._fallen = True
            self._report("fell", tilt_rad=round(tilt_rad, 3))
