"""What tests of runs with own classes share: the package that has them."""

import sys

import pytest

from .own_classes import PARTS


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with ``my_package``, on the path; not imported yet."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "my_package").mkdir()
    (folder / "my_package/__init__.py").touch()
    (folder / "my_package/parts.py").write_text(PARTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for name in ("my_package", "my_package.parts"):
        sys.modules.pop(name, None)
