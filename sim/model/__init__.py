"""The robot's model: URDF to links and joints, fixed links merged."""
