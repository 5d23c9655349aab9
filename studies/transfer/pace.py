"""How long the rest of the transfer protocol will take, told from the cells that are done."""

from __future__ import annotations

from collections.abc import Iterable

from training.evaluate.evaluate import EMULATOR, Evaluation

# Cost of an episode relative to PyBullet's, until one was timed: the unmerged models step more
# links and shapes (sim/plant/registry.py), and MuJoCo's one step a tick costs half of Bullet's.
_RELATIVE = {"pybullet": 1.0, "mujoco": 0.6, "pybullet-full": 3.0, "pybullet-stock": 3.0}
# Starting board and loop, standing up, stopping: what an episode in real time takes beside itself.
_AROUND_S = 12.0


class Pace:
    """Seconds per episode, by plant. A guess: a robot that falls makes for shorter episodes."""

    def __init__(self) -> None:
        self._spent: dict[str, tuple[float, int]] = {}

    def note(self, job: Evaluation, took_s: float) -> None:
        """A cell took so long."""
        seconds, episodes = self._spent.get(job.plant, (0.0, 0))
        self._spent[job.plant] = (seconds + took_s, episodes + job.count)

    def expect_s(self, jobs: Iterable[Evaluation]) -> float | None:
        """What these jobs will take together; None while nothing is known of one of them."""
        total_s = 0.0
        for job in jobs:
            episode_s = self._episode_s(job)
            if episode_s is None:
                return None
            total_s += episode_s * job.count
        return total_s

    def _episode_s(self, job: Evaluation) -> float | None:
        if job.plant in self._spent:
            seconds, episodes = self._spent[job.plant]
            return seconds / episodes
        if job.plant == EMULATOR:
            return job.seconds + _AROUND_S
        known = {plant: spent for plant, spent in self._spent.items() if plant != EMULATOR}
        if not known:
            return None
        units = sum(_RELATIVE.get(plant, 1.0) * episodes for plant, (_, episodes) in known.items())
        return _RELATIVE.get(job.plant, 1.0) * sum(seconds for seconds, _ in known.values()) / units


def in_words(seconds: float | None) -> str:
    """A time for people: "about 40 s", "about 12 min", "about 3.5 h"; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 100.0:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 6000.0 else f"about {seconds / 3600:.1f} h"
