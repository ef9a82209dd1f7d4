import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_ft.search.processes import start_of
from bert_ft.search.study.liveness import GRACE_SECONDS, Owner, is_alive


def test_a_process_of_this_machine_is_known_to_the_system():
    own = Owner.this_process()
    assert is_alive(own, {}, now=0.0)
    reused = dataclasses.replace(own, started="1")  # another process had this number before
    assert reused.pid == os.getpid()
    assert not is_alive(reused, {}, now=0.0)
    code = "from bert_ft.search.study.liveness import Owner; import json; print(json.dumps(Owner.this_process().to_dict()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    ended = Owner.of(json.loads(done.stdout))
    assert ended.host == own.host
    assert not is_alive(ended, {ended.heartbeat_key: 1e12}, now=0.0)


def test_another_machine_is_judged_by_its_heartbeat():
    other = Owner("elsewhere", "", 1, "5")
    assert is_alive(other, {other.heartbeat_key: 100.0}, now=100.0 + GRACE_SECONDS - 1)
    assert not is_alive(other, {other.heartbeat_key: 100.0}, now=100.0 + GRACE_SECONDS + 1)
    assert not is_alive(other, {}, now=1e9)


def test_round_trip():
    own = Owner.this_process()
    assert Owner.of(own.to_dict()) == own
    assert Owner.of(None) is Owner.of({"host": "x"}) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux only")
def test_the_start_is_what_the_system_counts():
    """A study that an earlier version started has it from there."""
    fields = Path(f"/proc/{os.getpid()}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    assert Owner.this_process().started == fields[19]


def test_a_process_that_nobody_has_waited_for_is_dead():
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        process.stdout.read()  # until it ends
        while (started := start_of(process.pid)) is not None:
            assert started.isdecimal()
        assert process.wait() == 0
