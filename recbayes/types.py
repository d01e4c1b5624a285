"""The few types that cross rooms, and the one door through which TensorFlow's untyped tensors pass."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

Tensor: TypeAlias = Any
"""A `tf.Tensor` (TensorFlow's own stubs do not survive strict typing)."""

Array: TypeAlias = Any
"""A NumPy array of any dtype, or what `np.asarray` takes."""


class UserError(ValueError):
    """A mistake that the user can mend: the message says what, where and how. The command line prints it and exits 2."""


class Interrupted(UserError):
    """What stopped work half way, such as a full disk: once it is mended the same call goes on from what is kept, which stays."""


class Clock(NamedTuple):
    """Where a decision stands in time. Each a tensor that broadcasts to [..., B].

    step: updates so far; remaining: decisions left on the horizon, this batch included; batch: decisions taken before the next update.
    """

    step: Tensor
    remaining: Tensor
    batch: Tensor


class Decision(NamedTuple):
    """What was chosen: action int32 [..., B], its exact propensity [..., B], and all probabilities [..., B, A]."""

    action: Tensor
    propensity: Tensor
    probabilities: Tensor
