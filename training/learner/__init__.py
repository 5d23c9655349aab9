"""PPO: networks, normalisation, the update."""
