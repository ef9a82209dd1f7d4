import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_ft.search.processes import start_of
from bert_ft.search.study.liveness import GRACE_SECONDS, Owner, is_alive


def test_this_process_lives():
    assert is_alive(Owner.this_process(), {}, now=0.0)


def test_a_process_that_has_ended_is_dead():
    own = Owner.this_process()
    code = "from bert_ft.search.study.liveness import Owner; import json; print(json.dumps(Owner.this_process().to_dict()))"
    import json

    ended = Owner.of(
        json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    )
    assert ended.host == own.host
    assert not is_alive(ended, {ended.heartbeat_key: 1e12}, now=0.0)


def test_a_number_that_was_given_again_is_another_process():
    earlier = dataclasses.replace(Owner.this_process(), started="1")
    assert earlier.pid == os.getpid()
    assert not is_alive(earlier, {}, now=0.0)


def test_another_machine_lives_by_its_heartbeat():
    other = Owner("elsewhere", "", 1, "5")
    assert is_alive(other, {other.heartbeat_key: 100.0}, now=100.0 + GRACE_SECONDS - 1)
    assert not is_alive(other, {other.heartbeat_key: 100.0}, now=100.0 + GRACE_SECONDS + 1)
    assert not is_alive(other, {}, now=1e9)


def test_round_trip():
    own = Owner.this_process()
    assert Owner.of(own.to_dict()) == own
    assert Owner.of(None) is None
    assert Owner.of({"host": "x"}) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux only")
def test_the_start_is_what_the_system_counts():
    """A study that an earlier version began has it from there."""
    fields = Path(f"/proc/{os.getpid()}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    assert Owner.this_process().started == fields[19]


def test_a_process_that_nobody_has_waited_for_is_dead():
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    process.stdout.read()  # until it ends
    while (started := start_of(process.pid)) is not None:
        assert started.isdecimal()
    assert process.wait() == 0
    process.stdout.close()
