"""The model as a TensorFlow SavedModel with its metadata and its self-check. See README.md in this folder."""

from recbayes.export.checking import Check, check
from recbayes.export.predicting import predict
from recbayes.export.saving import export
from recbayes.export.scorer import Scorer

__all__ = ["Check", "Scorer", "check", "export", "predict"]
