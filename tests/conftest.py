"""Quiet TensorFlow, and a garbage collector that does not search every graph traced so far again and again."""

import gc
import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("RAY_worker_niceness", "0")  # by default Ray's workers give way to all else: beside other tests they hardly run
COMPILED_AS_USERS_DO = "RECBAYES_TESTS_XLA_FLAGS"
os.environ.setdefault(COMPILED_AS_USERS_DO, os.environ.get("XLA_FLAGS", ""))
"""What XLA_FLAGS were before: tests/replay/test_compiling.py holds both compilers' numbers against each other."""
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
)
"""The tests compile some hundred small programs and run each for milliseconds: code that is quick to make, in place of quick code."""
gc.set_threshold(100_000, 20, 50)  # a twentieth of the suite's time


def pytest_configure(config):
    """Graphs as commands run them, and by TensorFlow's quicker builder (the same graphs, its flag_defs.h): two sevenths of the time.

    Tests that are run by hand do without until one of them runs a command.
    """
    if hasattr(config, "workerinput"):
        from tensorflow.core.config import flags

        from recbayes.runtime import skip_optimizer

        flags.config().graph_building_optimization.reset(True)
        skip_optimizer()


@pytest.fixture(scope="session")
def ray_engine():
    """Two workers on a cluster of their own on loopback, which is ended with the tests."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'recbayes[ray]'")
    import recbayes as rb

    engine = rb.engine("ray", workers=2)
    yield engine
    engine.close()
    import ray

    assert not ray.is_initialized()
