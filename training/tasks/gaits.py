"""The gaits that the tasks are trained with.

``minitaur search-gait`` finds open-loop gaits; the values here are such finds, rounded
and shifted by hand. A policy file carries the gait that it was trained with, so only training needs
these values.
"""

from __future__ import annotations

import dataclasses

from deploy.policy.gait import Gait, Steering

# The reference of the trot: diagonal legs half a period apart.
#
# The reference of Tan et al. 2018 (2 Hz, 0.3 rad, 0.35 rad, no lead) falls within seconds when it
# is run open loop on the identified robot: behind its soft, saturating drives the swing lags behind
# the extension, and a lead makes up for that. Lower and shorter than the search's find, to save
# power: alone it goes 1.4 m/s on the nominal robot, and 1.15 on a calibrated one with weak motors.
# Quick steps on low legs ride out shoves: no leg can step sideways, and a low body is hard to tip.
# The shortest legs that may be commanded are 0.7 rad; where the gait asks for less, the pipeline
# leaves the leg at that.
TROT = Gait(
    name="trot",
    frequency_hz=6.5,
    swing_amplitude_rad=0.46,
    extension_amplitude_rad=0.27,
    extension_centre_rad=0.8,
    swing_lead=0.17,
    leg_phase=(0.0, 0.5, 0.5, 0.0),
    ramp_s=0.25,
)

# The paper's frequency and amplitudes on lower legs, with the swing ahead, for comparisons. It
# walks open loop, slowly, with real drives and with ideal ones. Neither the paper's reference nor
# TROT does both.
PLAIN_TROT = Gait(
    name="plain_trot",
    frequency_hz=2.0,
    swing_amplitude_rad=0.3,
    extension_amplitude_rad=0.35,
    extension_centre_rad=1.7,
    swing_lead=0.18,
    leg_phase=(0.0, 0.5, 0.5, 0.0),
    ramp_s=0.25,
)

# The trot for the Minitaur's own mainboard. With a feedback of 0.12 rad no leg swings beyond the
# 0.49 rad that may be sent there. Only an extension whose feedback turns from end to end meets the
# bound of 0.3 rad from one packet to the next, by 0.01 rad.
# On longer legs than TROT, so that no encoder comes near its seam.
STOCK_TROT = dataclasses.replace(
    TROT,
    name="stock_trot",
    swing_amplitude_rad=0.37,
    extension_amplitude_rad=0.3,
    extension_centre_rad=1.05,
    swing_lead=0.1,
)

# The reference of the steered walk: one leg after another, a quarter of a cycle apart.
#
# A trot cannot be steered by its strides: the two toes of a diagonal are on the ground together and
# cannot step sideways, so they hold the heading. Measured on the nominal plant: a difference of
# 0.2 rad between the sides' swings turns a trot by less than 0.01 rad/s (0.05 in MuJoCo). Where a
# toe is alone on the ground for a while, the body turns about it, and the difference of the hind
# legs does most. At a requested velocity of zero the robot steps in place.
#
# Short, quick steps on low legs, because of shoves. On lower legs yet, or with slower steps, it is
# slower on the calibrated robots. Open loop it turns two thirds as fast as requested, creeps ahead
# while it turns on the spot, and goes three quarters as fast on a robot with weak motors; the
# policy's feedback makes up for that.
WALK = Gait(
    name="walk",
    frequency_hz=7.0,
    swing_amplitude_rad=0.02,
    extension_amplitude_rad=0.2,
    extension_centre_rad=0.9,
    swing_lead=0.2,
    leg_phase=(0.0, 0.25, 0.5, 0.75),
    ramp_s=0.25,
    steering=Steering(
        per_speed_rad=(0.37, 0.37, 0.37, 0.37),
        per_yaw_rate_rad=(-0.35, 0.9, 0.35, -0.9),
    ),
)

# The steered walk for that mainboard, on longer legs than WALK, as STOCK_TROT. The link holds each
# swing to 0.49 rad; at 4 Hz strides of so little swing turn the body most. At the greatest speed
# and turn together 0.39 rad are asked, and a feedback of 0.1 rad may be added.
# Alone it makes 0.28 m/s of 0.4 asked, slides back by 0.1 m/s where it turns on the spot, and
# hardly gets ahead in a bend; the policy's feedback makes up for that.
STOCK_WALK = dataclasses.replace(
    WALK,
    name="stock_walk",
    frequency_hz=4.0,
    extension_amplitude_rad=0.25,
    extension_centre_rad=1.05,
    swing_lead=0.15,
    steering=Steering(
        per_speed_rad=(0.4, 0.4, 0.4, 0.4),
        per_yaw_rate_rad=(-0.6, 1.4, 0.6, -1.4),
    ),
)

# The reference of the steered trot: on longer legs than TROT, with long and high steps.
#
# A difference of the hind legs' strides turns such a trot by 0.3 rad/s, and one on short legs
# hardly. Alone, commanded 1.3 m/s, it makes 1.32 m/s on the plain floor at 74 W, and 0.53 m/s over
# blocks of 2 cm, where a motor overheated in 5 of 10 episodes of 10 s. It keeps no heading.
STEERED_TROT = Gait(
    name="steered_trot",
    frequency_hz=6.3,
    swing_amplitude_rad=0.02,
    extension_amplitude_rad=0.38,
    extension_centre_rad=1.12,
    swing_lead=0.1,
    leg_phase=(0.0, 0.5, 0.5, 0.0),
    ramp_s=0.25,
    steering=Steering(
        per_speed_rad=(0.38, 0.38, 0.38, 0.38),
        per_yaw_rate_rad=(0.0, -0.5, 0.0, 0.5),
    ),
)

# An open-loop bound: front legs together, hind legs about half a cycle before them. The first
# policy of the gallop imitates it, see training.learner.imitation; no policy has it as a reference.
#
# The search tried it on the calibrated robots as well. Bounds of shorter strides are as fast on the
# nominal robot, and half as fast on one with weaker motors. On lower legs than the search's find:
# hard to tip.
BOUND = Gait(
    name="bound",
    frequency_hz=7.95,
    swing_amplitude_rad=0.77,
    extension_amplitude_rad=0.13,
    extension_centre_rad=1.07,
    swing_lead=0.06,
    leg_phase=(0.0, 0.53, 0.0, 0.53),
    ramp_s=0.25,
)
