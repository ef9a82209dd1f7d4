import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc"),
]


@pytest.fixture(scope="module")
def seen() -> dict:
    script = Path(__file__).with_name("serving.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_job_ends_as_it_does(seen):
    said, ended = seen["first"]
    assert ended == {"0": 0, "1": 1, "2": -11, "3": 0}
    assert said["0"]["done"] == "finish"
    assert said["3"]["done"] == "tell"
    assert said["3"]["reason"] == "𝄞" * 899 + "?"  # the longest message that there is, in any script
    assert "done" not in said["1"]
    assert "done" not in said["2"]


def test_each_job_has_a_process_of_its_own_that_is_prepared_and_clean(seen):
    said, _ = seen["first"]
    assert len({said[str(job)]["pid"] for job in range(4)}) == 4
    assert {said[str(job)]["parent"] for job in range(4)} == {said["null"]["ready"]}
    # prepared once, and nothing left by the others
    assert [said[str(job)]["loaded"] for job in range(4)] == [["loaded"]] * 4


def test_a_killed_job_takes_along_what_it_has_started(seen):
    ended, job_lives, child_lives = seen["killed"]
    assert ended == {"10": -9}
    assert not job_lives
    assert not child_lives


def test_another_server_takes_the_place_of_one_that_dies(seen):
    ended, job_lives = seen["server killed"]
    assert ended == {"20": -9}
    assert not job_lives
    said, ended = seen["after"]
    assert ended["21"] == 0
    assert said["21"]["loaded"] == ["loaded"]


def test_stopping_ends_everything(seen):
    assert seen["stopped"] == [False, False]
