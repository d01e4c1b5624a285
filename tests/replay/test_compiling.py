"""The tests compile quickly, users' replays run quickly: both compilers' settings give one set of numbers."""

import json
import os
import subprocess
import sys

import numpy as np
from conftest import COMPILED_AS_USERS_DO

SCRIPT = """
import json
import recbayes as rb
roles = {"clicks": "clicks", "impressions": "impressions", "group": "clickability_test_id"}
tests = rb.read_log("example:upworthy", **roles, features=["headline"])
world = rb.queue(tests.take(tests.segments[0] < 40), steps=6)
rows = rb.replay(world, [rb.thompson(rb.counts())], seeds=3).rows
found = rows[["clicks", "expected_clicks"]].to_numpy().ravel().tolist()
print(json.dumps(found))
"""


def test_users_code_gives_the_numbers_that_are_tested(capsys):
    """A replay as users compile it, in a process of its own, against this one's: else the tests would judge another program."""
    environment = os.environ | {"XLA_FLAGS": os.environ[COMPILED_AS_USERS_DO]}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    exec(SCRIPT, {})
    theirs, ours = (np.array(json.loads(said.splitlines()[-1])) for said in (done.stdout, capsys.readouterr().out))
    assert ours.min() > 0.0
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
