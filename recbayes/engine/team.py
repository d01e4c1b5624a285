"""A team: N processes of a Ray cluster that work in step, as training on several workers needs them.

Tasks of `results` know nothing of each other, so one lost worker is replaced. Members of a team wait for each other in every step: where
one is lost, all are ended, and a new team goes on from the last state that reached the process that asks.

Ray Train starts such processes too. It is not used: it keeps checkpoints on a disk that all machines see, and here only the process that
asks writes; its own controller decides when to begin again, and here the training loop does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from recbayes.engine.cluster import own
from recbayes.engine.member import Lost, Member
from recbayes.engine.worker import started_by
from recbayes.types import Interrupted

LOSSES = 5
"""So many teams lost one after the other, without a step in between, are no accident."""
MEETS_IN = 300.0
"""Seconds in which all members must have started and found each other."""


class Team:
    """N processes in step. Built by `Spread.team`.

    Attributes:
      size: how many.
      fresh: whether they know nothing yet of what the one that asks has told them.
    """

    def __init__(self, size: int, cpus: int) -> None:
        self.size, self.fresh = size, True
        self._cpus, self._losses = cpus, 0
        self._actors: list[Any] = []
        self._study: Any = None

    def hold(self, build: Callable[..., Any], shared: Any) -> None:
        """A study: `build(shared, rank, strategy)` makes each member's task; strategy is tf.distribute's."""
        import ray

        self._study, self.fresh = ray.put((build, shared)), True
        if self._actors:
            with suppress(Lost):  # all are ended then, and the next call begins anew
                self._held()

    def ask(self, *asked: Any) -> list[Any]:
        """What each member's task gives, by rank.

        Raises: Lost where a member is gone, and so the team is: the next call makes a new one; what a task raises; Interrupted where
          members can't start; RuntimeError where they are lost again and again.
        """
        if not self._actors:
            self._begin()
        found = self._all([actor.work.remote(*asked) for actor in self._actors])
        self.fresh, self._losses = False, 0
        return found

    def close(self) -> None:
        """Ends all members."""
        if self._actors:
            import ray

            for actor in self._actors:
                ray.kill(actor)
        self._actors, self.fresh = [], True

    def _begin(self) -> None:
        """All members, started, met and with the study at hand."""
        import ray

        made = ray.remote(num_cpus=self._cpus, max_restarts=0, scheduling_strategy="SPREAD")(Member)
        self._actors = [made.remote() for _ in range(self.size)]
        about = started_by(self._cpus)
        addresses = self._all([actor.start.remote(*about) for actor in self._actors], MEETS_IN)
        self._all([actor.meet.remote(addresses, rank) for rank, actor in enumerate(self._actors)], MEETS_IN)
        self._held()

    def _held(self) -> None:
        self._all([actor.hold.remote(self._study) for actor in self._actors])

    def _all(self, promises: list[Any], seconds: float | None = None) -> list[Any]:
        """All results; where one fails the others wait for it in vain, so all members are ended at once."""
        import ray

        waiting = promises
        try:
            while waiting:
                done, waiting = ray.wait(waiting, num_returns=1, timeout=seconds)
                if not done:
                    mend = "Are the cluster's CPUs all taken? Another engine that is open keeps its own: pass it on as `engine`."
                    raise Interrupted(f"engine: {self.size} workers did not start in {seconds:.0f} seconds. {mend}")
                ray.get(done)
            return ray.get(promises)
        except ray.exceptions.RayTaskError as failed:
            self.close()
            raise (self._lost(failed.cause) if isinstance(failed.cause, Lost) else own(failed)) from None
        except ray.exceptions.RayError as lost:
            self.close()
            raise self._lost(lost) from None
        except BaseException:
            self.close()
            raise

    def _lost(self, why: Exception) -> Lost:
        """Counts a lost team.

        Raises: RuntimeError where too many were lost.
        """
        self._losses += 1
        if self._losses == LOSSES:
            raise RuntimeError(f"engine: {LOSSES} teams of {self.size} workers were lost; they may need more memory than is there. {why}")
        return Lost(str(why))
