"""What signals do to a process, each tried in one of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest


def python(*words: str, **settings) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **settings,
    )


def ended(code: str) -> tuple[int, str]:
    process = python("-c", f"import os, signal, time\nfrom bert_ft.signals import *\n{code}")
    shown = process.communicate(timeout=60)[0]
    return process.returncode, shown


def test_what_a_library_catches_in_an_import_ends_the_process_all_the_same():
    code = """
with Signals(lambda: print("last words", flush=True)).taken(), ending_at_once():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        print("caught")
"""
    assert ended(code) == (143, "last words\n")


def test_what_is_caught_later_is_raised_at_the_next_occasion():
    code = """
signals = Signals()
with signals.taken():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        print("caught")
    signals.end_if_received()
"""
    assert ended(code) == (130, "caught\n")


def test_a_library_that_fails_to_tidy_up_does_not_hide_the_signal():
    code = """
with Signals().taken():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        raise RuntimeError("half built")
"""
    assert ended(code) == (143, "")


def test_another_error_stays_itself():
    code = """
with Signals().taken():
    raise RuntimeError("of its own")
"""
    returned, shown = ended(code)
    assert returned == 1
    assert shown.endswith("RuntimeError: of its own\n")


@pytest.mark.parametrize(("seconds", "end"), [(0.0, (0, "late\n")), (0.3, (143, ""))])
def test_a_second_signal_ends_at_once_unless_it_is_the_same_event(seconds, end):
    """A terminal and a launcher send two within a moment."""
    code = f"""
signals = Signals()
signals.waits = True
with signals.taken():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep({seconds})
    os.kill(os.getpid(), signal.SIGTERM)
    print("late")
"""
    code, shown = ended(code)
    _, _, rest = shown.partition("interrupt again to end at once\n")
    assert (code, rest) == end


def test_a_worker_leaves_signals_to_its_parent():
    """Those that a terminal or a scheduler sends to all processes of a run."""
    code = """
worker = os.fork()
if worker == 0:
    shield_worker()
    time.sleep(60)
    os._exit(1)
time.sleep(0.3)
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    os.system(f"kill -{int(number)} {worker}")  # by another process than its parent
time.sleep(0.3)
print(os.waitpid(worker, os.WNOHANG) == (0, 0))
os.kill(worker, signal.SIGTERM)
print(os.waitpid(worker, 0)[1])
"""
    assert ended(code) == (0, "True\n0\n")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 1.5])
def test_ctrl_c_while_a_command_is_loaded(seconds, tmp_path):
    process = python("-m", "bert_ft.train", cwd=tmp_path, env={**os.environ, "BERT_FT_CACHE": str(tmp_path)})
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    shown = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert shown.startswith("\ninterrupted")
    assert "Traceback" not in shown
