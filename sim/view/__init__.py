"""Pictures and films of the robot."""
