"""The trials of a sweep: which values come next, chosen and kept by Optuna.

Lists alone are tried in every combination, in an order that is drawn once: a few of them are a fair
sample, and more trials later go on with the others. With a range, Optuna's sampler chooses: ten
trials at random, and then where the scores are good.

A trial follows from its number and the scores of those before it: the sampler gets a seed of its
own for each. So a sweep that was killed chooses as if it never had been.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from training.sweeps.space import Listed, Ranged, Space, Values, grid


class Trials:
    """The trials of one sweep, by number from 1 on; one process at a time."""

    def __init__(self, journal: Path, space: Space) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        _mend(journal)
        self._distributions = {name: _distribution(each) for name, each in space.items()}
        combinations = grid(space)
        self._grid = None if combinations is None else _shuffled(combinations)
        storage = JournalStorage(JournalFileBackend(str(journal.resolve())))
        self._study = optuna.create_study(
            storage=storage, study_name="sweep", direction="maximize", load_if_exists=True
        )

    def __len__(self) -> int:
        """Count the trials that were chosen."""
        return len(self._chosen())

    def values(self, number: int) -> Values:
        """Return the values of a trial, in the order of the space; choose it if it is the next."""
        if number > len(self):
            self._choose(number)
        params = self._chosen()[number - 1].params
        return {name: params[name] for name in self._distributions}

    def first_like(self, number: int) -> int:
        """Return the first trial with the values of one: Optuna may choose the same again."""
        params = [trial.params for trial in self._chosen()]
        return 1 + params.index(params[number - 1])

    def tell(self, number: int, score: float | None) -> None:
        """Give a trial its score, None for a failed one; a score that it has stays."""
        trial = self._chosen()[number - 1]
        if not trial.state.is_finished():
            state = TrialState.FAIL if score is None else TrialState.COMPLETE
            self._study.tell(trial.number, score, state)

    def _chosen(self) -> list[FrozenTrial]:
        """List the trials that have all of their values; a kill may leave one with fewer."""
        return [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state != TrialState.WAITING
            and trial.params.keys() == self._distributions.keys()
        ]

    def _choose(self, number: int) -> None:
        if self._grid is None:
            (seed,) = np.random.SeedSequence(number).generate_state(1)
            self._study.sampler = TPESampler(seed=int(seed))
        elif not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._study.enqueue_trial(dict(self._grid[number - 1]))
        self._study.ask(self._distributions)


def _distribution(varied: Listed | Ranged) -> BaseDistribution:
    if isinstance(varied, Listed):
        return CategoricalDistribution(varied.values)
    if isinstance(varied.low, int) and isinstance(varied.high, int):
        return IntDistribution(varied.low, varied.high, log=varied.is_log)
    return FloatDistribution(varied.low, varied.high, log=varied.is_log)


def _shuffled(combinations: list[Values]) -> list[Mapping[str, float]]:
    order = np.random.default_rng(0).permutation(len(combinations))
    return [combinations[i] for i in order]


def _mend(journal: Path) -> None:
    """Remove what a process that was killed may leave: a line without an end, and Optuna's lock.

    Only one process sweeps in a folder, which the lock of the folder ensures.
    """
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.exists():
        text = journal.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            journal.write_bytes(whole)
