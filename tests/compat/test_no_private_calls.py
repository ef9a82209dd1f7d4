"""Nothing private of a library is used outside of ``compat/``, except for torch in ``kernels/``."""

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import bert_ft

ROOT = Path(bert_ft.__file__).parent
LIBRARIES = {
    "lightning",
    "hydra",
    "hydra_plugins",
    "omegaconf",
    "optuna",
    "torch",
    "torchmetrics",
    "transformers",
}
# keys of Hydra's configurations, which its documentation has
KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
# a named tuple's methods, public in Python's documentation
NAMED_TUPLE = {"_asdict", "_replace", "_make", "_fields"}
# attributes without an underscore that no page of the libraries' documentation has
UNDOCUMENTED = {"fit_loop", "epoch_loop", "batch_progress", "epoch_progress", "check_monitor_top_k"}
UNDOCUMENTED |= {"with_quotes", "parse_intermixed_args"}
EXEMPT = {"compat", "kernels"}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in EXEMPT)


def is_private(name: str) -> bool:
    """``_x``, and torch's ``_x_``, which changes a tensor in place; neither Python's ``__x__`` nor a key of Hydra's."""
    return name.startswith("_") and not name.endswith("__") and name not in KEYS | NAMED_TUPLE


def found_in(source: str) -> Iterator[str]:
    """What is private of a library in a file: imports, and attributes of what isn't the file's own."""
    tree = ast.parse(source)
    own = {"self", "cls"} | {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = []
        for name in names:
            if name.split(".")[0] in LIBRARIES and any(is_private(part) for part in name.split(".")):
                yield name
        if isinstance(node, ast.Attribute):
            asked, of = node.attr, node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("vars("):  # vars(x).pop("_y")
            of, asked = node.func, next((a.value for a in node.args if isinstance(a, ast.Constant)), "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            of, name_node = node.args[0], node.args[1]
            asked = name_node.value if isinstance(name_node, ast.Constant) else ""
        else:
            continue
        of_whom = ast.unparse(of)
        if asked in UNDOCUMENTED or (
            is_private(asked) and of_whom not in own and of_whom.split(".")[0] not in sys.stdlib_module_names
        ):
            yield f"{of_whom}.{asked}"


def test_nothing_private_of_a_library_is_used():
    found = {str(path.relative_to(ROOT)): set(found_in(path.read_text(encoding="utf-8"))) for path in FILES}
    found = {path: names for path, names in found.items() if names}
    assert not found, f"move to bert_ft/compat, and say which public way is missing: {found}"


@pytest.mark.parametrize(
    "code",
    [
        "from hydra._internal.utils import get_args_parser",
        "from optuna.storages import _CachedStorage",
        "import hydra._internal.utils",
        "trial._trial_id",
        "self.study._storage",
        "super()._swap_models()",
        "getattr(strategy, '_ddp_kwargs', {})",
        "trainer.fit_loop.max_epochs = 3",
        "torch._foreach_mul_([], 1)",
        "from torch._C import _current_graph_task_id",
        "model.config._attn_implementation = 'eager'",
        "vars(module).pop('_hooks_installed', None)",
    ],
)
def test_the_walk_finds(code):
    assert list(found_in(code))


@pytest.mark.parametrize("code", ["self._x", "class A: pass\nA._x", "os._exit(0)", "node._target_"])
def test_the_walk_leaves(code):
    assert not list(found_in(code))


def own_classes() -> list[type]:
    """The classes of this package that extend a library's, outside of ``compat/``."""
    found = []
    for path in FILES:
        if path.parent == ROOT:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.ClassDef) and node.bases for node in tree.body):
            module = importlib.import_module(
                ".".join([ROOT.name, *path.relative_to(ROOT).with_suffix("").parts])
            )
            found += [each for each in vars(module).values() if _extends(each, module)]
    return found


def _extends(each: object, module: ModuleType) -> bool:
    return isinstance(each, type) and each.__module__ == module.__name__ and bool(list(_library_bases(each)))


def _library_bases(each: type) -> Iterator[type]:
    return (base for base in each.__mro__ if base.__module__.split(".")[0] in LIBRARIES)


def names_of_self(each: type) -> set[str]:
    """The private names that a class defines, or asks of itself."""
    try:
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(each)))
    except (OSError, TypeError):  # written in C++
        tree = ast.Module([], [])
    asked = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls")
    }
    by_metaclasses = ("_abc_", "_backward_cls")
    return {
        name for name in asked | set(vars(each)) if is_private(name) and not name.startswith(by_metaclasses)
    }


@pytest.mark.slow
def test_no_class_shares_a_private_name_with_the_librarys_that_it_extends():
    classes = own_classes()
    assert {"StochasticAveraging", "OptunaSweeper", "EncoderModule"} <= {each.__name__ for each in classes}
    for each in classes:
        for base in _library_bases(each):
            shared = names_of_self(each) & names_of_self(base)
            assert not shared, f"{each.__name__} and {base.__module__}.{base.__qualname__}: {shared}"
