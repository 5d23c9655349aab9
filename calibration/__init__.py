"""Records of robots: how well the simulator explains them, and a simulator fitted to them."""
