"""What several stages start from: the logs that the config names, and the features, each read once a process."""

from __future__ import annotations

from functools import cache
from typing import Any

import recbayes as rb
from recbayes.config import Config, LogSection
from recbayes.log.sample import sample_of
from recbayes.types import UserError


def whole_log(config: Config) -> Any:
    """The log at log.path, with the columns that the features need; of a log that is streamed, some row groups of it."""
    return _read(config.log, config.log.path, _columns(config))


def logs(config: Config) -> tuple[Any, Any]:
    """Training and test log: as split, or the log at log.path and the one at log.test_path."""
    if config.log.test_path is not None:
        return whole_log(config), _read(config.log, config.log.test_path, _columns(config))
    return _split(config.log, _columns(config), config.seed)


def training_rows(config: Config) -> Any:
    """What the model is trained on: the training log, or all of log.path as a stream."""
    return _stream(config.log, _columns(config)) if config.log.stream else logs(config)[0]


def of_rows(config: Config) -> str:
    """How much of log.path all else looks at, where it is streamed: " of 10,000,000"; else nothing."""
    return f" of {training_rows(config).rows:,}, some random row groups (log.stream)" if config.log.stream else ""


def must_be_whole(config: Config, what: str) -> None:
    """UserError where a stage needs all rows of log.path and they stay on disk."""
    if config.log.stream:
        raise UserError(f"{what} takes all rows of {config.log.path} at once, and log.stream leaves them on disk. Set log.stream to false")


def judged_log(config: Config, test_only: bool) -> Any:
    """The log that policies are judged on, or its test rows, with the columns that the evaluation looks at."""
    assert config.evaluate is not None
    if not test_only:
        must_be_whole(config, "evaluate (evaluate.rows=test would not):")
    names = tuple(dict.fromkeys([*_columns(config), *config.evaluate.given, *filter(None, [config.evaluate.decision])]))
    if config.log.test_path is not None and test_only:
        return _read(config.log, config.log.test_path, names)
    return _split(config.log, names, config.seed)[1] if test_only else _read(config.log, config.log.path, names)


def features(config: Config) -> list[Any]:
    """The features as the library's own."""
    if not config.features:
        raise UserError("features: none given, and a model needs at least one: features: [{name: COLUMN, kind: text}]")
    return [feature.build() for feature in config.features]


@cache
def _read(log: LogSection, path: str, names: tuple[str, ...]) -> Any:
    source = sample_of(path) if log.stream and path == log.path else path
    return rb.read_log(source, **log.columns.model_dump(), features=names, reward_range=log.reward_range, on_bad_rows=log.on_bad_rows)


@cache
def _stream(log: LogSection, names: tuple[str, ...]) -> Any:
    return rb.stream_log(log.path, **log.columns.model_dump(), features=names, reward_range=log.reward_range)


@cache
def _split(log: LogSection, names: tuple[str, ...], seed: int) -> tuple[Any, Any]:
    split = log.split
    return tuple(_read(log, log.path, names).split(by=split.by, test_fraction=split.test_fraction, follow=split.follow, seed=seed))


def _columns(config: Config) -> tuple[str, ...]:
    """Names of the features, and of the columns that the split follows and that calibration is looked at by."""
    more = (*config.log.split.follow, *(config.calibration.by or ()))
    return tuple(dict.fromkeys([*(feature.name for feature in config.features), *more]))
