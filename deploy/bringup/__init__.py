"""What is found out about a robot before a policy runs on it: zeros, wiring, latency."""
