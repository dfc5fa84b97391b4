"""The stages on Ray: an actor a worker, each with one CPU, on one machine or many that share the dataset's folder."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module

from ode_vgan.errors import UserError
from ode_vgan.laion.engine import Answer, Queue, Stage, answer_in_json, open_stage

log = logging.getLogger(__name__)


class StageActor:
    """What each actor is: a stage, entered once."""

    def __init__(self, stage: Stage):
        self.opened = ExitStack()
        self.work = open_stage(stage, self.opened)

    def answer(self, item: str) -> str:
        """The answer to an item, in JSON."""
        return answer_in_json(self.work, item)

    def process(self) -> int:
        """The id of the actor's process, for who wants to watch it."""
        return os.getpid()

    def close(self) -> None:
        """Leave the stage, so that processes of its own end before the actor does."""
        self.opened.close()


def ray_answers(stage: Stage, items: Sequence[str], jobs: int) -> Iterator[Answer]:
    """Answers of the actors of a Ray cluster, as they come: that of $RAY_ADDRESS, or one started for this.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    with connected(jobs) as (ray, workers):
        actor = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(StageActor)
        queue, actors, pending = Queue(items), [actor.remote(stage) for _ in range(workers)], {}
        try:
            while queue.waiting or pending:
                busy = {number for number, _ in pending.values()}
                for number in [i for i in range(workers) if i not in busy][: len(queue.waiting)]:
                    item = queue.next()
                    pending[actors[number].answer.remote(item)] = number, item
                (ready, *_), _ = ray.wait(list(pending))
                number, item = pending.pop(ready)
                try:
                    yield Answer(item, *json.loads(ray.get(ready)))
                except ray.exceptions.RayError as error:
                    actors[number] = actor.remote(stage)
                    failure = queue.died(item, f"Ray actor {number}", _why(error))
                    if failure is not None:
                        yield failure
        finally:
            ray.wait([one.close.remote() for one in actors], num_returns=len(actors), timeout=10)


@contextmanager
def connected(jobs: int) -> Iterator[tuple]:
    """Ray, joined to a cluster, and how many workers it has room for; what was started here ends with the context.

    Raises:
        UserError: Ray is not installed, or there is no cluster at $RAY_ADDRESS.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of this run
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise UserError("ray is not installed (--engine ray): pip install 'ode_vgan[laion-ray]'.") from error
    address = os.environ.get("RAY_ADDRESS")
    ours, options = not ray.is_initialized(), {"log_to_driver": False, "logging_level": logging.ERROR}
    if ours:
        if not address:
            options |= {"num_cpus": jobs, "include_dashboard": False}
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises that itself, where a machine is too slow
            told = " ".join(str(error).split())[:160]
            raise UserError(
                f"no Ray cluster at {address or 'this machine'} ({told}). Try again, or --engine local."
            ) from error
    try:
        room = int(ray.cluster_resources().get("CPU", 0))
        if room < jobs:
            log.warning("the Ray cluster has %d CPUs: %d workers, not %d", room, max(room, 1), jobs)
        yield ray, max(1, min(jobs, room))
    finally:
        if ours:
            ray.shutdown()


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
