"""What tests of the kernels share."""

import pytest

from bert_ft.kernels import self_check


@pytest.fixture
def unchecked():
    """No kernel has been checked yet, and none will have been afterwards."""
    self_check.forget()
    yield
    self_check.forget()
