"""The real-time control loop: modes, safety checks, clock."""
