"""The learner: networks, normalisation, imitation, the PPO update."""
