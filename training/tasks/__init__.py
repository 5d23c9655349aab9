"""The tasks: Gymnasium environments, registered by importing this package.

On the step that ends an episode a task puts its figures into ``info["metrics"]``, a dict of floats;
the trainer averages and logs whatever is there. ``reset(seed=s)`` decides the whole episode.
"""

import gymnasium

gymnasium.register(
    id="MinitaurStack/InvertedPendulum-v0",
    entry_point="training.tasks.pendulum:InvertedPendulum",
)
gymnasium.register(
    id="MinitaurStack/Trot-v0",
    entry_point="training.tasks.minitaur:make_trot",
)
gymnasium.register(
    id="MinitaurStack/PlainTrot-v0",
    entry_point="training.tasks.minitaur:make_plain_trot",
)
gymnasium.register(
    id="MinitaurStack/Gallop-v0",
    entry_point="training.tasks.minitaur:make_gallop",
)
gymnasium.register(
    id="MinitaurStack/Minitaur-v0",
    entry_point="training.tasks.pybullet_envs:make_minitaur",
)
gymnasium.register(
    id="MinitaurStack/Duck-v0",
    entry_point="training.tasks.pybullet_envs:make_duck",
)
gymnasium.register(
    id="MinitaurStack/Steer-v0",
    entry_point="training.tasks.minitaur:make_steer",
)
