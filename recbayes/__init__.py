"""Recbayes: how sure is the click model, does exploring pay, with which policy, and the winner as a TensorFlow SavedModel.

Everything a notebook needs is here by one short name, and nothing is imported before it is used: `import recbayes` takes
milliseconds and leaves TensorFlow alone.

>>> import recbayes as rb
>>> rb.thompson.__name__
'thompson'
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_ROOMS: dict[str, tuple[str, ...]] = {
    "recbayes.types": ("UserError",),
    "recbayes.engine": ("engine",),
    "recbayes.log": ("Log", "aggregate", "audit", "read_log", "stream_log"),
    "recbayes.features": ("categorical", "multi_categorical", "numeric", "text", "time", "vector"),
    "recbayes.densities": ("beta_mixture", "gaussian_mixture", "logit_normal_mixture", "point"),
    "recbayes.models": ("ddn", "linear", "mlp"),
    "recbayes.posteriors": (
        *("ensemble", "epinet", "last_layer", "map", "mc_dropout", "mean_field", "mle"),
        *("neural_linear", "nuts", "sgld"),
    ),
    "recbayes.predictive": ("Predictive",),
    "recbayes.fitted": ("Fitted", "fit", "load"),
    "recbayes.calibration": ("calibrate",),
    "recbayes.findings": ("findings",),
    "recbayes.comparison": ("Problem", "compare"),
    "recbayes.policies": (
        *("boltzmann", "choose", "epsilon_greedy", "greedy", "knowledge_gradient", "quantile_ucb"),
        *("slate", "square_cb", "thompson", "ucb", "uniform"),
    ),
    "recbayes.policies.control": ("shuffled",),
    "recbayes.replay": (
        *("classification", "counts", "density", "halve", "linear_learner", "neural_linear_learner"),
        *("policy_family", "propensity", "queue", "refit", "rejection", "replay", "twin", "wheel"),
    ),
    "recbayes.evaluation": ("Evaluation", "evaluate", "exported", "logged", "modelled", "rates", "table"),
    "recbayes.export": ("check", "export"),
    "recbayes.report": ("report",),
    "recbayes.monitor": ("monitor",),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    """The public name from the room it lives in, imported at its first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"recbayes has no {name!r}. Its public names: {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """Keeps `rb.replay`, `rb.export`, `rb.report` and the like the functions though rooms have the same names.

    Python sets a sub-package as an attribute of its package when it is imported, which would hide the function of that name.
    `from recbayes.replay import queue` goes on working: it does not look at the attribute.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        """By name, as plain modules are: a notebook's own function that says `rb.fit` travels to workers."""
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package
