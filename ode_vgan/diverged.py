"""What a run does when its losses or gradients leave all bounds: stop, or go back and take smaller steps."""

import logging
from io import BytesIO
from pathlib import Path

import torch

from ode_vgan.checkpoints import earlier, last_good, write_last
from ode_vgan.errors import DivergedError, UserError
from ode_vgan.runs import read_checkpoint

log = logging.getLogger(__name__)
CHOICES = ("stop", "rollback")


class OnDivergence:
    """The group `diverged` of a run's config, checked.

    Args:
        then: stop, or rollback: go on from the last good checkpoint with smaller steps.
        factor: of all step sizes at each rollback.
        times: rollbacks of a run, at most.
        max_loss, max_gradient: size of a loss, and norm of all gradients, beyond which a run has diverged; None for any
            that is finite.

    Raises:
        UserError: a value outside its limits.
    """

    def __init__(
        self, *, then: str, factor: float, times: int, max_loss: float | None = None, max_gradient: float | None = None
    ):
        if then not in CHOICES:
            raise UserError(f"diverged.then={then!r}; choose one of {', '.join(CHOICES)}.")
        if not 0 < factor < 1 or times < 1:
            raise UserError(f"diverged.factor={factor} and times={times}; the factor is in (0, 1), times is >= 1.")
        for name, limit in (("max_loss", max_loss), ("max_gradient", max_gradient)):
            if limit is not None and not limit > 0:
                raise UserError(f"diverged.{name}={limit}; give a limit above 0, or null for none.")
        self.rolls, self.factor, self.times = then == "rollback", factor, times

    def roll_back(self, path: Path, error: DivergedError) -> None:
        """Make the last good checkpoint the last one, with smaller steps; the run is to go on from there.

        Where no checkpoint was written since the last rollback, it is the one before that.

        Args:
            path: of the last checkpoint.

        Raises:
            DivergedError: the run is to stop, or was rolled back too often.
        """
        content = last_good(path) if self.rolls else None
        if content is None:
            raise error
        events = content["ode_vgan"].get("rollbacks", [])
        if len(events) >= self.times:
            scale = content["ode_vgan"]["step_scale"]
            raise DivergedError(f"{error} {len(events)} rollbacks, to steps {scale:g} times as large, did not help.")
        if events and content["ode_vgan"]["clips_seen"] <= events[-1]["to_clips"]:
            content = older(path, events[-1]["to_clips"]) or content
        told = content["ode_vgan"]
        scale = self.factor ** (len(events) + 1)
        events = [*events, {"to_clips": told["clips_seen"], "step_scale": scale, "reason": str(error)}]
        told |= {"step_scale": scale, "rollbacks": events}
        buffer = BytesIO()
        torch.save(content, buffer)
        write_last(path, buffer.getbuffer(), 1 + len(earlier(path)))
        log.warning("Diverged: %s Goes on at %s clips with steps times %g.", error, f"{told['clips_seen']:,}", scale)


def older(path: Path, clips: int) -> dict | None:
    """The newest checkpoint of fewer clips that can be read."""
    for found in earlier(path):
        try:
            content = read_checkpoint(found)
        except UserError:
            continue
        if content["ode_vgan"]["clips_seen"] < clips:
            return content
    return None
