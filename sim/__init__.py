"""The physical plant: PyBullet, actuators, sensors and the randomisation of their parameters.

Knows the robot description of the bridge; knows no policy, no network and no training.
"""
