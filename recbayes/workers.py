"""Training on several workers: each takes its part of every batch, and their gradients are summed (tf.distribute) in every step.

The batches are those of one worker: every worker goes through the whole feed and cuts the same batch at the same groups, so N workers
make the steps of one up to the rounding of sums. Random numbers belong to (seed, epoch, step, group of the batch), not to a worker. A
group is worked on by one worker; where a batch has fewer groups than there are workers, the others take a group that does not count.

Where a posterior says that parts of its state are trained apart (`Posterior.apart`: an ensemble's members), and there are as many as
workers, each worker has some of these parts in place of some groups, and takes whole batches. What all parts share is summed alone.

A last look after the steps (`Posterior.finish_on`: the chains of NUTS) can be shared out to the same workers, which then do not wait for
each other.

The process that asks keeps the loop: workers take steps up to the next checkpoint or the end of the epoch and hand the state back. It
judges, stops, and writes. Where a worker is lost, new ones go on from the last state that was handed back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.engine import Engine, Kind, opening
from recbayes.engine.member import Lost
from recbayes.engine.spread import Spread
from recbayes.engine.team import Team
from recbayes.posteriors.base import Batch, Network, Posterior, Share, stretch
from recbayes.training import Begun, Epoch, Feed, Keep, Schedule, Stepper, record_of, signature_of, steps
from recbayes.types import Array, Tensor, UserError


class Cut(NamedTuple):
    """A worker's part of a batch: its rows and groups from, to; the share of the rows that it counts for, 0 where none are its own."""

    rows: tuple[int, int]
    groups: tuple[int, int]
    weight: float


def cut(segments: Array, rank: int, workers: int) -> Cut:
    """The part of one of several workers: about as many rows as the others have, of whole groups.

    Args:
      segments: int [N], each row's group, ascending from 0.
      rank: which worker, from 0.
      workers: how many.

    >>> cut(np.array([0, 0, 1, 2, 2]), 0, 2), cut(np.array([0, 0, 1, 2, 2]), 1, 2)
    (Cut(rows=(0, 2), groups=(0, 1), weight=0.4), Cut(rows=(2, 5), groups=(1, 3), weight=0.6))
    >>> cut(np.array([0, 0]), 0, 2)
    Cut(rows=(0, 2), groups=(0, 1), weight=0.0)
    """
    sizes = np.bincount(segments)
    ends = np.cumsum(sizes)
    owners = (2 * ends - sizes) * workers // (2 * len(segments))  # whose part a group's middle row is in
    first, stop = np.searchsorted(owners, [rank, rank + 1]).tolist()
    counts = first < stop
    if not counts:
        first = int(sizes.argmin())
        stop = first + 1
    rows = int(ends[first] - sizes[first]), int(ends[stop - 1])
    return Cut(rows, (first, stop), (rows[1] - rows[0]) / len(segments) if counts else 0.0)


def part_of(batch: Batch, where: Tensor, weight: Tensor) -> Batch:
    """A worker's part of a batch; where: rows from, to, groups from, to, int32 [4]; weight: its share of the rows, []."""
    row, to_row, group, to_group = tf.unstack(where)
    return Batch(
        {name: value[row:to_row] for name, value in batch.inputs.items()},
        batch.clicks[row:to_row],
        batch.impressions[row:to_row],
        batch.segments[row:to_row] - group,
        batch.groups[group:to_group],
        batch.clusters[group:to_group],
        Share(weight, group, tf.shape(batch.groups)[0]),
    )


class Study(NamedTuple):
    """What a team trains; state: one like those to come, as arrays."""

    network: Network
    posterior: Posterior
    feed: Feed
    schedule: Schedule
    state: Any


class Told(NamedTuple):
    """What a worker hands back.

    state: its parts as arrays, and of the first worker what all have; None in the place of the rest. mark: hash of what all have; begun:
    the epoch; done: whether it is at its end.
    """

    state: list[Array | None]
    mark: str
    begun: Begun
    done: bool


class TakenBy:
    """A team takes the steps, and parts of the last look; see `Stepper`."""

    def __init__(self, team: Team) -> None:
        self.size, self._team = team.size, team

    def __call__(self, network: Network, posterior: Posterior, feed: Feed, schedule: Schedule, state: Any, checkpoint_steps: int) -> Epoch:
        """What goes through an epoch; every so many steps, and at its end, the workers hand their state back."""
        team = self._team
        team.hold(Steps, Study(network, posterior, feed, schedule, tf.nest.map_structure(np.asarray, state)))
        return lambda state, epoch, begun, keep: spread_epoch(team, posterior.kind, schedule, checkpoint_steps, (state, epoch, begun, keep))

    def each(self, task: Callable[[Any, int], Any], shared: Any) -> list[Any]:
        """`task(shared, rank)` of each worker; of a new team where one is lost."""
        self._team.hold(part, (task, shared))
        while True:
            with suppress(Lost):
                return self._team.ask()


def part(given: tuple[Callable[[Any, int], Any], Any], rank: int, strategy: Any) -> Callable[[], Any]:
    """A member's end of `TakenBy.each`."""
    task, shared = given
    return lambda: task(shared, rank)


@contextmanager
def stepping(workers: int, engine: Kind | Engine) -> Iterator[Stepper | None]:
    """Who takes the steps while the block lasts: so many workers, started by an engine and ended with the block; None for this process.

    Raises: UserError for an engine that has no processes, or whose cluster is too small.
    """
    if workers == 1:
        yield None
        return
    with nullcontext(engine) if not isinstance(engine, str) else closing(opening.engine(engine)) as there:
        if not isinstance(there, Spread):
            raise UserError(
                f"fit: workers is {workers}, but the engine {there.name} is this process alone. Say engine='ray', or workers=1."
            )
        with there.team(workers) as team:
            yield TakenBy(team)


def must_share(workers: int, groups: int, batch_size: int) -> None:
    """UserError where so many workers can't each have a part of a step.

    >>> must_share(4, 3, 512)
    Traceback (most recent call last):
    recbayes.types.UserError: train: workers is 4, but the log has 3 groups, and a group is worked on by one. Say train.workers=3 or fewer
    """
    if workers < 1:
        raise UserError(f"train: workers is {workers}, must be at least 1")
    if workers > groups:
        mend = f"Say train.workers={groups} or fewer"
        raise UserError(f"train: workers is {workers}, but the log has {groups} groups, and a group is worked on by one. {mend}")
    if workers > batch_size:
        raise UserError(f"train: workers is {workers}, but a step has {batch_size} rows. Raise train.batch_size, or ask for fewer workers")


def spread_epoch(
    team: Team, kind: str, schedule: Schedule, checkpoint_steps: int, asked: tuple[Any, int, Begun, Keep]
) -> tuple[Any, dict[str, float]]:
    """An epoch as `training.Epoch` has it, each stretch up to a checkpoint taken by a team and again by a new one where that was lost."""
    state, epoch, begun, keep = asked
    done = False
    while not done:
        left = checkpoint_steps - len(begun.losses) % checkpoint_steps
        known = [np.asarray(t) for t in tf.nest.flatten(state)] if team.fresh else None
        try:
            told = team.ask(known, epoch, begun, left)
        except Lost:
            continue
        must_agree(kind, [one.mark for one in told])
        _, _, begun, done = told[0]
        state = tf.nest.pack_sequence_as(state, [tf.constant(array) for array in gathered([one.state for one in told])])
        if not done:
            keep(state, begun)
    return state, record_of(epoch, begun, schedule)


def held_apart(posterior: Posterior, state: Any, workers: int) -> list[bool]:
    """Of each tensor of a state, whether every worker has its own part of it; of none where the parts are fewer than the workers.

    Raises: UserError where the tensors have different numbers of parts.
    """
    tensors = tf.nest.flatten(state)
    if posterior.apart is None:
        return [False] * len(tensors)
    tf.nest.assert_same_structure(state, apart_of := posterior.apart(state))
    found = tf.nest.flatten(apart_of)
    parts = {len(tensor) for tensor, apart in zip(tensors, found, strict=True) if apart}
    if len(parts) > 1:
        raise UserError(
            f"train: {posterior.kind}'s `apart` tells of tensors of {', '.join(map(str, sorted(parts)))} parts: must be as many in each"
        )
    return found if max(parts, default=0) >= workers else [False] * len(tensors)


def gathered(states: Sequence[Sequence[Array | None]]) -> list[Array]:
    """One state of what the workers handed back, their parts of a tensor in order.

    >>> gathered([[np.array([1, 2]), np.array(5)], [np.array([3]), None]])
    [array([1, 2, 3]), array(5)]
    """
    parts = [[part for part in tensor if part is not None] for tensor in zip(*states, strict=True)]
    return [np.concatenate(several) if len(several) > 1 else several[0] for several in parts]


def must_agree(kind: str, marks: Sequence[str]) -> None:
    """UserError for workers whose states differ: a posterior of one's own whose steps are not summed over workers.

    >>> must_agree("mine", ["a", "b"])
    Traceback (most recent call last):
    recbayes.types.UserError: train: workers ended with different weights: posterior mine can't be trained on several. Build its steps ...
    """
    if len(set(marks)) > 1:
        raise UserError(
            f"train: workers ended with different weights: posterior {kind} can't be trained on several. Build its steps of loss, descend "
            "and of_groups in recbayes.posteriors.base, or say train.workers=1"
        )


class Steps:
    """A worker's end: (state as arrays or None to go on from its own, epoch, how far that has come, steps at most) -> `Told`."""

    def __init__(self, study: Study, rank: int, strategy: Any) -> None:
        self._study, self._rank, self._workers = study._replace(state=None), rank, strategy.num_replicas_in_sync
        self._apart = held_apart(study.posterior, study.state, self._workers)
        self._state = tf.nest.pack_sequence_as(study.state, self._mine(tf.nest.flatten(study.state)))
        self._going: tuple[int, Iterator[tuple[Any, Begun]]] | None = None
        self._step = self._compiled(strategy)

    def __call__(self, state: list[Array] | None, epoch: int, begun: Begun, most: int) -> Told:
        """Takes steps; what is random in them hangs on the epoch and the step alone."""
        _, _, feed, schedule, _ = self._study
        if state is not None:
            self._state, self._going = tf.nest.pack_sequence_as(self._state, self._mine(state)), None
        if self._going is None or self._going[0] != epoch:
            self._going = epoch, steps(self._step, self._state, feed, schedule, epoch, begun)
        before = len(begun.losses)
        for now, done in islice(self._going[1], most):
            self._state, begun = now, done
        arrays = [(np.asarray(t), apart) for t, apart in zip(tf.nest.flatten(self._state), self._apart, strict=True)]
        mark = hashlib.sha256(b"".join(array.tobytes() for array, apart in arrays if not apart)).hexdigest()
        given = [array if apart or not self._rank else None for array, apart in arrays]
        told = begun._replace(losses=[float(x) for x in begun.losses])
        return Told(given, mark, told, len(begun.losses) < before + most)

    def _mine(self, state: Sequence[Array]) -> list[Tensor]:
        """Of all tensors those parts that are this worker's."""
        parts = zip(state, self._apart, strict=True)
        return [tf.constant(whole[stretch(len(whole), self._rank, self._workers)] if apart else whole) for whole, apart in parts]

    def _compiled(self, strategy: Any) -> Callable[..., tuple[Any, Tensor]]:
        """One step of all workers: (state, whole batch, seed, learning rate) -> (state, loss)."""
        network, posterior, feed, _, _ = self._study
        fitting, spread = feed.corrected(network), any(self._apart)
        signature = [*signature_of(self._state, feed), tf.TensorSpec([4], tf.int32), tf.TensorSpec([], tf.float32)]

        def own(state: Any, batch: Batch, seed: Tensor, rate: Tensor, where: Tensor, weight: Tensor) -> tuple[Any, Tensor]:
            return posterior.update(fitting, state, batch if spread else part_of(batch, where, weight), seed, rate)

        @tf.function(input_signature=signature, autograph=False)
        def together(*given: Any) -> tuple[Any, Tensor]:
            return strategy.run(own, args=given)

        def step(state: Any, batch: Batch, seed: Tensor, rate: Tensor) -> tuple[Any, Tensor]:
            mine = cut(np.asarray(batch.segments), self._rank, self._workers)
            return together(state, batch, seed, rate, tf.constant([*mine.rows, *mine.groups]), tf.constant(mine.weight, tf.float32))

        return step
