"""Quiet TensorFlow, and a garbage collector that does not search every graph traced so far again and again."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # many small programs: compiled in four fifths of the time
gc.set_threshold(100_000, 20, 50)  # a twentieth of the suite's time
