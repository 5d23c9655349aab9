"""From robot state to motor targets: contract, pipeline, network."""
