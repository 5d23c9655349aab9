"""The tasks: Gymnasium environments, registered by importing this package.

On the step that ends an episode a task puts its figures into ``info["metrics"]``, a dict of floats;
the trainer averages and logs whatever is there. ``reset(seed=s)`` decides the whole episode.
"""

import gymnasium

for _name, _entry_point in {
    "InvertedPendulum": "pendulum:InvertedPendulum",
    "Trot": "minitaur:make_trot",
    "TrotStock": "minitaur:make_trot_stock",
    "Demo": "minitaur:make_demo",
    "PlainTrot": "minitaur:make_plain_trot",
    "Gallop": "minitaur:make_gallop",
    "Steer": "minitaur:make_steer",
    "SteerStock": "minitaur:make_steer_stock",
    "Walk": "minitaur:make_walk",
    "Minitaur": "minitaur:make_minitaur",
    "Duck": "minitaur:make_duck",
}.items():
    gymnasium.register(f"MinitaurStack/{_name}-v0", entry_point=f"training.tasks.{_entry_point}")
