"""The robot as everything else sees it: description, kinematics, messages and the Robot protocol.

The lowest floor of the house. It imports numpy, and pyserial in the serial link only; it knows
neither a policy nor a simulator.
"""
