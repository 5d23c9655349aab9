"""The curves of a run in Weights & Biases, beside those on disk: the only module with wandb.

A run folder has one run of W&B, whose id is in its file ``wandb-id``. What a resumed training
writes goes on there. The x axis of all curves is ``steps``, so a row that is written again after a
resumption falls on the one before.
"""

from __future__ import annotations

import dataclasses
import logging
import uuid

import wandb

from deploy.files import write_atomically
from training.errors import ConfigError
from training.rollout.samplers import signals_wait
from training.runs.config import TrainConfig
from training.runs.folder import RunFolder
from training.runs.progress import ProgressRow

logger = logging.getLogger(__name__)

_PROJECT = "minitaur"


class WandbWriter:
    """Sends the rows of a run to W&B, or keeps them for `wandb sync` (``WANDB_MODE=offline``).

    What W&B reads from the environment holds: WANDB_PROJECT, WANDB_ENTITY, WANDB_API_KEY. A service
    that fails costs rows there, not the run.

    Raises:
        ConfigError: W&B cannot be reached, or nobody is logged in.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder) -> None:
        id_file = folder.wandb_id
        run_id = id_file.read_text().strip() if id_file.exists() else uuid.uuid4().hex[:12]
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        if settings.project is None:
            settings.project = _PROJECT
        try:
            with signals_wait():  # a process of W&B's inherits it; Ctrl-C is the trainer's
                self._run = wandb.init(
                    name=folder.path.resolve().name,
                    id=run_id,
                    resume="allow",
                    dir=folder.path,
                    config=dataclasses.asdict(config),
                    settings=settings,
                )
        except (wandb.Error, OSError) as error:
            text = " ".join(str(error).split()).rstrip(".")
            raise ConfigError(
                f"logger wandb: {text}; WANDB_MODE=offline keeps the curves here, for wandb sync"
            ) from error
        self._run.define_metric("*", step_metric="steps")
        write_atomically(id_file, f"{run_id}\n".encode())
        self._lost = False

    def write(self, row: ProgressRow) -> None:
        """Send a row; a warning tells of the first one that is lost."""
        facts = {"steps": row.steps, "update": row.update, "wall_seconds": row.wall_seconds}
        try:
            self._run.log({**facts, **row.values})
        except (wandb.Error, OSError) as error:
            if not self._lost:
                logger.warning("rows are lost for W&B: %s", " ".join(str(error).split()))
            self._lost = True

    def close(self) -> None:
        """Send what is left."""
        try:
            self._run.finish()
        except (wandb.Error, OSError) as error:
            logger.warning("rows are lost for W&B: %s", " ".join(str(error).split()))
