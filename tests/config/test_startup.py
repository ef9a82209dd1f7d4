import gc
import subprocess
import sys
from contextlib import contextmanager

import pytest

from bert_ft import train as command
from tests.training.running import compose_run, file_overrides


def python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_the_first_imports_rest_the_collector_and_are_left_out_of_later_collections():
    told = python(
        """
import gc
from bert_ft.config.startup import heavy_imports
collections = []
gc.callbacks.append(lambda phase, info: collections.append(phase))
with heavy_imports():
    collections.clear()
    import torch
    print(len(collections), gc.get_freeze_count())
print(gc.isenabled(), gc.get_freeze_count() > 100_000)
"""
    )
    assert told.split() == ["0", "0", "True", "True"]


@pytest.mark.slow
def test_a_second_run_in_the_process_freezes_nothing():
    """It could be holding the first run's objects, which are to be collected."""
    told = python(
        """
import gc
from bert_ft.config.startup import heavy_imports
with heavy_imports():
    import torch
frozen = gc.get_freeze_count()
kept = [[] for _ in range(1000)]
with heavy_imports():
    pass
print(gc.get_freeze_count() <= frozen)
"""
    )
    assert told.split() == ["True"]


def test_a_failing_import_turns_the_collector_on_again():
    from bert_ft.config.startup import heavy_imports

    with pytest.raises(ImportError), heavy_imports():
        import bert_ft.nonsense  # noqa: F401
    assert gc.isenabled()


def test_a_command_collects_once_it_has_imported():
    """The command line stops the collector when it starts."""
    from bert_ft.config.startup import heavy_imports

    gc.disable()
    with heavy_imports():
        pass
    assert gc.isenabled()


@pytest.mark.parametrize("kernels", ["fast", "plain"])
def test_the_command_says_by_which_kernels(tmp_path, tiny_encoder, reviews, monkeypatch, kernels):
    said = []

    @contextmanager
    def imports(*, kernels):
        said.append(kernels)
        raise RuntimeError("broken off")
        yield

    monkeypatch.setattr("bert_ft.config.startup.heavy_imports", imports)
    config = compose_run(
        tmp_path,
        "data=files",
        "encoder=any",
        *file_overrides(reviews),
        f"encoder.name_or_path={tiny_encoder}",
        f"encoder.kernels={kernels}",
    )
    with pytest.raises(RuntimeError, match="broken off"):
        command.main(config)
    assert said == [kernels]
