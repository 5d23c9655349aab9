"""The ablation study: what each part of the simulator is worth."""
