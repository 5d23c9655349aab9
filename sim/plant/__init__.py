"""The robot and its world without a physics engine: drives, latencies, sensors, pushes, terrain."""
