"""Friction between a body and the floor in Bullet, as a force of our own.

Bullet's friction has preferred directions. It splits the slip of a contact along two axes of the
world and divides each part by the inverse mass of the body along that axis. The force then points
along the slip so divided, not along the slip. A leg swings easily and is hard to push sideways, so
the error is large, and it turns with the heading: a plate of 40 x 20 cm that slides at 45 degrees
leaves at 55. Neither more iterations nor another solver of Bullet's change that.

So Bullet's friction with the floor is switched off, and every link that touches gets this force. It
is a spring and a damper between the link's point of contact and the point where it took hold,
bounded by Coulomb's law (Cundall and Strack 1979, doi 10.1680/geot.1979.29.1.47)::

    force = -stiffness * displacement - damping * slip,   |force| <= friction * normal force

At the bound the point of hold slides along. The normal force is that of Bullet's last tick.
"""

from __future__ import annotations

import math
from typing import Any

from sim.plant.params import TICK_S

# As good as rigid: under a quarter of the robot's weight a toe gives way by 1 mm. The lightest link
# is a lower leg of 0.07 kg; with both values its motion is stable at one tick by a factor of four.
STIFFNESS_N_PER_M = 20_000.0
DAMPING_N_S_PER_M = 50.0

_BASE = -1


class FloorFriction:
    """The friction of one body on one horizontal floor.

    Args:
        bullet: The module ``pybullet``.
        client: Bullet's number of the world.
        body: Bullet's number of the body.
        floor: Bullet's number of the floor; its lateral friction must be 0 in Bullet.
        friction: Coulomb coefficient.
    """

    def __init__(self, bullet: Any, client: int, body: int, floor: int, friction: float) -> None:
        self._bullet, self._client = bullet, client
        self._body, self._floor, self._friction = body, floor, friction
        # Of each link that touches, how far its contact is from where it took hold, m.
        self._held: dict[int, tuple[float, float]] = {}
        self._moved = False

    def release(self) -> None:
        """Forget all contacts: the body has been put somewhere else."""
        self._held.clear()
        self._moved = True  # what Bullet has are the contacts of the old place

    def apply(self) -> None:
        """Put the force on every link that touches; call it before each step of the world."""
        bullet, client, body = self._bullet, self._client, self._body
        if self._moved:
            self._moved = False
            return
        held, self._held = self._held, {}
        # Per link: normal force, and centre of pressure times it.
        pressed: dict[int, tuple[float, float, float, float]] = {}
        for contact in bullet.getContactPoints(body, self._floor, physicsClientId=client):
            link, (x, y, z), normal_n = contact[3], contact[5], contact[9]
            if normal_n > 0.0:
                n, nx, ny, nz = pressed.get(link, (0.0, 0.0, 0.0, 0.0))
                n, nx, ny = n + normal_n, nx + normal_n * x, ny + normal_n * y
                pressed[link] = n, nx, ny, nz + normal_n * z
        if not pressed:
            return
        links = [link for link in pressed if link != _BASE]
        states = bullet.getLinkStates(body, links, 1, 0, client) if links else ()
        motions = {link: (s[0], s[6], s[7]) for link, s in zip(links, states, strict=True)}
        if _BASE in pressed:
            at = bullet.getBasePositionAndOrientation(body, client)[0]
            motions[_BASE] = (at, *bullet.getBaseVelocity(body, client))
        for link, (normal_n, nx, ny, nz) in pressed.items():
            x, y, z = nx / normal_n, ny / normal_n, nz / normal_n
            (cx, cy, cz), (vx, vy, _), (wx, wy, wz) = motions[link]
            slip_x = vx + wy * (z - cz) - wz * (y - cy)
            slip_y = vy + wz * (x - cx) - wx * (z - cz)
            fx, fy, hold = friction_force(
                held.get(link, (0.0, 0.0)), slip_x, slip_y, self._friction * normal_n
            )
            self._held[link] = hold
            at, frame = (x, y, z), bullet.WORLD_FRAME
            bullet.applyExternalForce(body, link, (fx, fy, 0.0), at, frame, client)


def friction_force(
    held_m: tuple[float, float], slip_x_m_s: float, slip_y_m_s: float, bound_n: float
) -> tuple[float, float, tuple[float, float]]:
    """Return the force on a contact over the next tick, N, and its new displacement, m.

    Args:
        held_m: Displacement from where the contact took hold, after the tick before.
        slip_x_m_s: Velocity of the contact on the floor, along x.
        slip_y_m_s: The same along y.
        bound_n: Friction coefficient times normal force.
    """
    x, y = held_m[0] + slip_x_m_s * TICK_S, held_m[1] + slip_y_m_s * TICK_S
    fx = -STIFFNESS_N_PER_M * x - DAMPING_N_S_PER_M * slip_x_m_s
    fy = -STIFFNESS_N_PER_M * y - DAMPING_N_S_PER_M * slip_y_m_s
    size = math.sqrt(fx * fx + fy * fy)
    if size > bound_n:
        fx, fy = fx * bound_n / size, fy * bound_n / size
        x, y = -fx / STIFFNESS_N_PER_M, -fy / STIFFNESS_N_PER_M
    return fx, fy, (x, y)
