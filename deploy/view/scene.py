"""The robot in 3D, on a page of viser: body and legs as measured, targets as thin lines."""

from __future__ import annotations

import numpy as np
import viser
from numpy.typing import NDArray

from deploy.view import legs
from deploy.view.legs import FORE, OUTWARD, REAR, Legs, tilts_rad
from deploy.view.pose import FOOT_RADIUS_M, SECTION_M, Pose
from deploy.view.shapes import Mesh, ball, slab
from robot_firmware_bridge.robot import NUM_MOTORS, RobotDescription

Array = NDArray[np.float64]
Colour = tuple[int, int, int]

_GRAPHITE, _STEEL, _RUBBER, _ACCENT = (44, 52, 64), (176, 186, 198), (24, 26, 30), (14, 140, 150)
_TARGET: Colour = (245, 128, 20)
# A winding from cold to as hot as it may get: steel blue, amber, red.
_HEAT_C = (40.0, 80.0, 110.0)
_HEAT = np.array(((70, 84, 104), (240, 168, 40), (222, 48, 40)), np.float64)
_UNTURNED = (1.0, 0.0, 0.0, 0.0)
_ROBOT = "/robot"


class Scene:
    """Draws poses; what did not change is not sent.

    Args:
        server: The page.
        robot: Lengths of its links.
    """

    def __init__(self, server: viser.ViserServer, robot: RobotDescription) -> None:
        self._scene = scene = server.scene
        scene.set_up_direction("+z")
        scene.configure_environment_map("studio", environment_intensity=0.45)
        server.initial_camera.position = (0.5, -0.66, 0.4)
        server.initial_camera.look_at = (0.0, 0.0, 0.1)
        self._ground = scene.add_grid(
            "/ground",
            width=6.0,
            height=6.0,
            cell_size=0.1,
            cell_thickness=0.8,
            cell_color=(222, 227, 233),
            section_size=SECTION_M,
            section_thickness=1.4,
            section_color=(178, 187, 199),
            fade_distance=4.5,
            fade_strength=1.5,
            fade_from="origin",
            shadow_opacity=0.25,
        )
        self._body = scene.add_frame(_ROBOT, show_axes=False)
        self._add_body()
        self._upper = self._links("upper", slab(robot.upper_link_m + 0.03, 0.03, 0.008, 0.015), 8)
        rod_m = robot.lower_link_m
        self._fore = self._links("fore", slab(rod_m + 0.014, 0.014, 0.008, 0.007), 4)
        self._rear = self._links(
            "rear", slab(rod_m + legs.FOOT_M + 0.014, 0.014, 0.008, 0.007), 4, _GRAPHITE
        )
        self._feet = self._links("feet", ball(FOOT_RADIUS_M * 1.3), 4, _RUBBER, smooth=True)
        self._targets = scene.add_line_segments(
            f"{_ROBOT}/targets",
            np.zeros((16, 2, 3)),
            _TARGET,
            thickness=2.0,
            thickness_units="screen",
        )
        self._beside = {
            name: np.stack((np.zeros(NUM_MOTORS), beside_m * OUTWARD, np.zeros(NUM_MOTORS)), axis=1)
            for name, beside_m in (("upper", legs.UPPER_M), ("lower", legs.LOWER_M + 0.0015))
        }

    def _solid(
        self,
        name: str,
        mesh: Mesh,
        colour: Colour,
        at: tuple[float, float, float],
        wxyz: tuple[float, float, float, float] = _UNTURNED,
    ) -> None:
        self._scene.add_mesh_simple(
            f"{_ROBOT}/{name}",
            mesh.vertices,
            mesh.faces,
            color=colour,
            flat_shading=True,
            position=at,
            wxyz=wxyz,
        )

    def _add_body(self) -> None:
        """Add what does not move in the body's frame."""
        side_m = legs.HIP_Y_M
        # A slab is thin along y; turned by a quarter about x it lies.
        lying = (np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0)
        for name, mesh, at, colour in (
            ("hull", slab(0.15, 0.30, 0.075, 0.02), (0.0, 0.0, 0.0), _GRAPHITE),
            ("lid", slab(0.11, 0.20, 0.02, 0.02), (0.0, 0.0, 0.047), _ACCENT),
            ("nose", slab(0.05, 0.03, 0.03, 0.012), (0.15, 0.0, 0.012), _ACCENT),
        ):
            self._solid(name, mesh, colour, at, lying)
        rail = slab(0.046, 2.0 * legs.HIP_X_M + 0.046, 0.012, 0.023)
        for name, sign in (("left", 1.0), ("right", -1.0)):
            self._solid(f"rail_{name}", rail, _STEEL, (0.0, sign * side_m, legs.HIP_Z_M))
        for name, x_m in (("front", 0.12), ("back", -0.12)):
            beam = slab(0.03, 0.03, 2.0 * side_m, 0.008)
            self._solid(f"beam_{name}", beam, _STEEL, (x_m, 0.0, legs.HIP_Z_M))
        self._motors = self._links("motors", slab(0.085, 0.085, 0.022, 0.0424), 8)
        self._motors.batched_positions = legs.hips_m(legs.MOTOR_M).astype(np.float32)

    def _links(
        self, name: str, mesh: Mesh, count: int, colour: Colour = _STEEL, smooth: bool = False
    ) -> viser.BatchedMeshHandle:
        return self._scene.add_batched_meshes_simple(
            f"{_ROBOT}/{name}",
            mesh.vertices,
            mesh.faces,
            batched_wxyzs=np.tile(_UNTURNED, (count, 1)),
            batched_positions=np.zeros((count, 3)),
            batched_colors=np.tile(np.array(colour, np.uint8), (count, 1)),
            flat_shading=not smooth,
            lod="off",
        )

    def show(self, pose: Pose) -> None:
        """Draw a pose."""
        x, y, z, w = pose.quaternion.tolist()
        self._body.wxyz = (w, x, y, z)
        self._body.position = (0.0, 0.0, pose.height_m)
        self._ground.position = (*pose.ground_m.tolist(), 0.0)
        measured = pose.legs
        _place(self._upper, measured.hips, measured.knees, self._beside["upper"])
        knees, beside = measured.knees, self._beside["lower"]
        _place(self._fore, knees[FORE], measured.pins, beside[FORE])
        _place(self._rear, knees[REAR], measured.feet, beside[REAR])
        self._feet.batched_positions = (measured.feet + beside[REAR]).astype(np.float32)
        self._targets.points = _ghost(pose.targets)

    def show_heat(self, winding_c: Array) -> None:
        """Colour the motors by the temperatures of their windings, shape (8,); NaN is unknown."""
        known = np.nan_to_num(winding_c, nan=_HEAT_C[0])
        colours = np.stack([np.interp(known, _HEAT_C, channel) for channel in _HEAT.T], axis=1)
        self._motors.batched_colors = colours.astype(np.uint8)


def _place(handle: viser.BatchedMeshHandle, start: Array, end: Array, beside: Array) -> None:
    """Put links between two ends, each (n, 3), and to the side by ``beside``."""
    half = 0.5 * tilts_rad(start, end)
    wxyz = np.zeros((len(half), 4), np.float32)
    wxyz[:, 0], wxyz[:, 2] = np.cos(half), np.sin(half)
    handle.batched_wxyzs = wxyz
    handle.batched_positions = (0.5 * (start + end) + beside).astype(np.float32)


def _ghost(targets: Legs) -> NDArray[np.float32]:
    """Return the lines of commanded legs, outside of the measured ones, where they are seen."""
    lines = targets.lines()
    lines[:, :, 1] += 0.024 * np.sign(lines[:, :, 1])
    return lines.astype(np.float32)
