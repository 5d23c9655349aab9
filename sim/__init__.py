"""The physical plant: PyBullet or MuJoCo, actuators, sensors and random draws of their parameters.

Knows the robot description of the bridge; knows no policy, no network and no training.
"""
