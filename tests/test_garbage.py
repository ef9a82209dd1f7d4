"""Loading without garbage collections in between."""

import gc

import pytest

from bert_ft.garbage import without_collections


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_callers_collector_is_as_before(enabled, frozen):
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    if frozen:
        gc.freeze()
    try:
        count = gc.get_freeze_count()
        with without_collections():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
        assert (gc.get_freeze_count() > 0) == (count > 0) == frozen
    finally:
        gc.unfreeze()
        (gc.enable if before else gc.disable)()
