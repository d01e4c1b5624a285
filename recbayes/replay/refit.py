"""The refit learner: the whole model fitted again on a schedule, to the training log and all that the replica has been told.

    prior of an arm = density(x; w),  w ~ posterior given the training log and the feedback up to the last fit

Between fits it is the density learner: an arm's own counts, and its page's, condition the prior. They go on counting after a fit, which is
no double use: w given all counts, then the arm's rate given w and its own counts, is the hierarchical posterior. Any model and any
posterior will do: fitting is a function that the caller gives. It runs on the host between spans of compiled steps, one replica at a time,
so that a replay takes replicas x policies x fits times as long as a fit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import threading
from collections.abc import Callable, Hashable
from functools import partial
from types import CodeType, FunctionType
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from recbayes.log import Log
from recbayes.replay.density import density
from recbayes.replay.faults import check
from recbayes.replay.learner import Again, Bound, Learner
from recbayes.replay.tallies import Recent, Tallies
from recbayes.replay.world import World
from recbayes.types import Array, UserError

ONE_AT_A_TIME = threading.Lock()
"""Fitting sets Keras's global seed: two fits at once would not be functions of theirs."""


def refit(
    fitted: Any,
    log: Log,
    fit: Callable[[Log, int], Any],
    *,
    every: int = 25,
    counts_scope: Literal["group", "item"] = "group",
    draws: int = 64,
    merge: bool = True,
    exact: bool = False,
    window: int | None = None,
    seed: int = 0,
) -> Learner:
    """A fitted model that is fitted again, on a schedule, to what the replay has told.

    Args:
      fitted: the model to start from, as `density`'s.
      log: what it was fitted to.
      fit: (log, seed) -> model; the log has the training rows and, below them, a row for each arm that has been shown, with the clicks and
        impressions that the learner knows of.
      every: steps between fits.
      counts_scope: as `density`'s.
      draws: as `density`'s.
      merge: as `density`'s.
      exact: as `density`'s.
      window: updates whose feedback counts, between fits and in them; the training log is always fitted to. None: all.
      seed: of the weight draws. A fit's seed comes from its replica and step.

    Raises: UserError if a setting is out of range, or (bound to a world) the world has no rows that a model could be fitted to.

    >>> refit(None, None, None, every=0)
    Traceback (most recent call last):
    recbayes.types.UserError: refit: every is 0, must be at least 1
    """
    check("refit", [(every < 1, f"every is {every}, must be at least 1")])
    settings: dict[str, Any] = {
        "counts_scope": counts_scope,
        "draws": draws,
        "merge": merge,
        "exact": exact,
        "window": window,
        "seed": seed,
    }
    started = density(fitted, **settings)

    def bind(world: World) -> Bound:
        if world.rows is None:
            raise UserError(f"refit: the {world.kind} world has no rows that a click model could be fitted to. Let neural_linear learn.")
        if every >= world.steps:
            raise UserError(
                f"refit: every is {every}, the {world.kind} world has {world.steps} steps, so the model would never be fitted again. Set a"
                " smaller one, or use density."
            )

        rows = world.rows

        def made(state: Tallies | Recent, place: Array, present: Array, seed: int) -> Bound:
            told = state.total if isinstance(state, Recent) else state
            clicks, impressions = (counted(values.numpy()[0], place, present, len(world.segments)) for values in told)
            model = alone(fit, joined(log, rows, clicks, impressions), seed)
            return density(model, **settings).bind(world)._replace(together=True)

        bound = started.bind(world)
        return bound._replace(together=True, again=Again(every, made, f"{log.fingerprint} {recipe(fit)}"))

    return Learner("refit", {"every": every, **settings}, fitted, bind, beside=(id(log), told_apart(fit)))


def alone(fit: Callable[[Log, int], Any], log: Log, seed: int) -> Any:
    """A fit while no other one runs in this process."""
    with ONE_AT_A_TIME:
        return fit(log, seed)


def told_apart(fit: Callable[[Log, int], Any]) -> Hashable:
    """Equal for the same function; for partial ones also with the same arguments."""
    if not isinstance(fit, partial):
        return fit
    return fit.func, *(given if isinstance(given, int | float | str) else id(given) for given in (*fit.args, *fit.keywords.values()))


def recipe(fit: Callable[[Log, int], Any]) -> str:
    """A hash of what a fit does, as far as it can be seen, equal in another process: a kept replica must not answer for another fit.

    Its code, its defaults and the values that it holds, by their representation; not what it looks up elsewhere.

    >>> recipe(lambda log, seed: 1) == recipe(lambda log, seed: 1), recipe(lambda log, seed: 1) == recipe(lambda log, seed: 2)
    (True, False)
    """
    if isinstance(fit, partial):
        known = f"{recipe(fit.func)} {fit.args} {sorted(fit.keywords.items())}".encode()
    elif isinstance(fit, FunctionType):
        held = [cell.cell_contents for cell in fit.__closure__ or ()]
        known = _code(fit.__code__) + f"{fit.__defaults__} {fit.__kwdefaults__} {held}".encode()
    else:
        known = repr(fit).encode()
    return hashlib.sha256(re.sub(rb"0x[0-9a-f]+", b"", known)).hexdigest()[:16]  # addresses differ between processes


def _code(code: CodeType) -> bytes:
    """A function's instructions and constants, those of functions within it among them."""
    constants = [_code(value) if isinstance(value, CodeType) else repr(value).encode() for value in code.co_consts]
    return b" ".join([code.co_code, repr(code.co_names).encode(), *constants])


def counted(values: Array, place: Array, present: Array, arms: int) -> Array:
    """Counts laid out [A, G] as counts of arms, int64 [N]."""
    found = np.zeros(arms, np.int64)
    found[place[present]] = np.rint(values[present])
    return found


def joined(log: Log, arms: Log, clicks: Array, impressions: Array) -> Log:
    """The log as counts, and below it the arms that have been shown, with what is known of them.

    Args:
      log: training rows.
      arms: a row an arm, of the same columns.
      clicks: of the arms, [N].
      impressions: of the arms, [N].
    """
    train, shown = log.counts(), impressions > 0
    if not shown.any():
        return train
    table = arms.table.select(train.table.column_names).cast(train.table.schema)
    for name, values in ((train.columns.clicks, clicks), (train.columns.impressions, impressions)):
        column = table.schema.get_field_index(name)
        table = table.set_column(
            column, train.table.schema.field(name), pa.chunked_array([pa.array(values).cast(table.schema.field(name).type)])
        )
    table = pa.concat_tables([train.table, table.filter(pa.array(shown))]).unify_dictionaries()
    token = hashlib.sha256(f"{train.fingerprint} {arms.fingerprint}".encode() + clicks.tobytes() + impressions.tobytes()).hexdigest()
    return dataclasses.replace(train, table=table, fingerprint=token)
