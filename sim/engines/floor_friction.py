"""Friction between a body and the ground in Bullet, as a force of our own.

Bullet's friction has preferred directions. It splits the slip of a contact along two axes of the
world and divides each part by the inverse mass of the body along that axis. The force then points
along the slip so divided, not along the slip. A leg swings easily and is hard to push sideways, so
the error is large, and it turns with the heading: a plate of 40 x 20 cm that slides at 45 degrees
leaves at 55. Neither more iterations nor another solver of Bullet's change that.

So Bullet's friction with the ground is switched off, and every link that touches gets this force,
along the surface that its contacts have in the mean. It is a spring and a damper between the link's
point of contact and the point where it took hold, bounded by Coulomb's law (Cundall and Strack
1979, doi 10.1680/geot.1979.29.1.47)::

    force = -stiffness * displacement - damping * slip,   |force| <= friction * normal force

At the bound the point of hold slides along. The normal force is that of Bullet's last tick.
"""

from __future__ import annotations

import math
from typing import Any

from sim.plant.params import TICK_S, PlantParams
from sim.plant.terrain import Patches

# As good as rigid: under a quarter of the robot's weight a toe gives way by 1 mm. The lightest link
# is a lower leg of 0.07 kg; with both values its motion is stable at one tick by a factor of four.
STIFFNESS_N_PER_M = 20_000.0
DAMPING_N_S_PER_M = 50.0

_BASE = -1

Vector = tuple[float, float, float]
_ZERO: Vector = (0.0, 0.0, 0.0)


class FloorFriction:
    """The friction of one body on the ground.

    Args:
        bullet: The module ``pybullet``.
        client: Bullet's number of the world.
        body: Bullet's number of the body.
        ground: Bullet's numbers of what the ground is made of; their lateral friction must be 0 in
            Bullet.
        friction: Coulomb coefficient outside of patches.
        patches: Where it is scaled.
    """

    def __init__(
        self,
        bullet: Any,
        client: int,
        body: int,
        ground: range,
        friction: float,
        patches: Patches | None = None,
    ) -> None:
        self._bullet, self._client = bullet, client
        self._body, self._ground, self._friction = body, ground, friction
        self._patches = patches or Patches(PlantParams())
        # Of each link that touches, how far its contact is from where it took hold, m.
        self._held: dict[int, Vector] = {}
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
        before, self._held = self._held, {}
        # Per link: sum of the sizes of all normal forces, their sum, and places times sizes.
        pressed: dict[int, tuple[float, Vector, Vector]] = {}
        for contact in bullet.getContactPoints(body, physicsClientId=client):
            link, at, normal, normal_n = contact[3], contact[5], contact[7], contact[9]
            if normal_n > 0.0 and contact[2] in self._ground:
                n, force, place = pressed.get(link, (0.0, _ZERO, _ZERO))
                pressed[link] = (
                    n + normal_n,
                    _plus(force, _times(normal_n, normal)),
                    _plus(place, _times(normal_n, at)),
                )
        if not pressed:
            return
        links = [link for link in pressed if link != _BASE]
        states = bullet.getLinkStates(body, links, 1, 0, client) if links else ()
        motions = {link: (s[0], s[6], s[7]) for link, s in zip(links, states, strict=True)}
        if _BASE in pressed:
            at = bullet.getBasePositionAndOrientation(body, client)[0]
            motions[_BASE] = (at, *bullet.getBaseVelocity(body, client))
        for link, (n, force, place) in pressed.items():
            size = math.sqrt(_dot(force, force))
            if size == 0.0:
                continue  # pressed from two sides alike
            normal = (force[0] / size, force[1] / size, force[2] / size)
            at = (place[0] / n, place[1] / n, place[2] / n)
            centre, velocity, rate = motions[link]
            arm = (at[0] - centre[0], at[1] - centre[1], at[2] - centre[2])
            slip = along(normal, _plus(velocity, _cross(rate, arm)))
            held = along(normal, before.get(link, _ZERO))
            friction = self._friction * self._patches.scale_at(at[0], at[1])
            rubbed, self._held[link] = friction_force(held, slip, friction * size)
            bullet.applyExternalForce(body, link, rubbed, at, bullet.WORLD_FRAME, client)


def along(normal: Vector, vector: Vector) -> Vector:
    """Return what of a vector is along a surface, whose normal has length 1."""
    out = _dot(vector, normal)
    x, y, z = vector
    return x - out * normal[0], y - out * normal[1], z - out * normal[2]


def friction_force(held_m: Vector, slip_m_s: Vector, bound_n: float) -> tuple[Vector, Vector]:
    """Return the force on a contact over the next tick, N, and its new displacement, m.

    Args:
        held_m: Displacement along the surface from where the contact took hold, after the tick
            before.
        slip_m_s: Velocity of the contact along the surface.
        bound_n: Friction coefficient times normal force.
    """
    held = _plus(held_m, _times(TICK_S, slip_m_s))
    force = _plus(_times(-STIFFNESS_N_PER_M, held), _times(-DAMPING_N_S_PER_M, slip_m_s))
    size = math.sqrt(_dot(force, force))
    if size > bound_n:
        x, y, z = force
        force = (x * bound_n / size, y * bound_n / size, z * bound_n / size)
        x, y, z = force
        held = (-x / STIFFNESS_N_PER_M, -y / STIFFNESS_N_PER_M, -z / STIFFNESS_N_PER_M)
    return force, held


# Of three numbers, in the order of ``bullet_tick.c``: both must give the same bits.


def _plus(a: Vector, b: Vector) -> Vector:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _times(factor: float, a: Vector) -> Vector:
    return factor * a[0], factor * a[1], factor * a[2]


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
