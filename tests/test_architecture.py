"""Imports run downward only, and each heavy library stays in its layer (shared decisions of the design)."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import bert_ft

ROOT = Path(bert_ft.__file__).parent

# files that every layer may import; they import nothing but each other
FOUNDATION = {
    "atomic_file",
    "errors",
    "layout",
    "limits",
    "nested",
    "renamed_keys",
    "signals",
    "split_columns",
    "standard_error",
}
# layer → the layers that it may import besides
BELOW: dict[str, set[str]] = {
    **{name: set() for name in FOUNDATION},
    "trust": set(),
    "compat": set(),
    "drawing": set(),
    "data": set(),
    "nn": {"compat"},
    "optim": {"compat"},
    "kernels": {"data", "nn", "optim"},  # data, optim: the types of what says which rows are trained
    "tasks": {"trust", "data", "nn"},
    "evaluation": {"tasks"},
    "reporting": {"drawing", "tasks"},
    "models": {"compat", "trust", "data", "nn", "optim", "kernels", "tasks"},
    "inference": {"compat", "data", "nn", "optim", "tasks", "models"},
    "training": {"compat", "data", "nn", "optim", "kernels", "tasks", "models"},
    "search": {"compat", "drawing", "reporting"},  # the pictures and the page of a study
    "callbacks": {"compat", "data", "nn", "optim", "kernels", "tasks", "models", "training", "search"},
    "config": {
        "compat",
        "trust",
        "data",
        "nn",
        "optim",
        "kernels",
        "tasks",
        "models",
        "training",
        "callbacks",
    },
}
# library → the layers that may import it; entry points may import any
HOMES = {
    "lightning": {"compat", "training", "callbacks", "config"},
    "torchmetrics": {"compat", "tasks", "training", "config"},
    "hydra": {"compat", "config", "search"},
    "omegaconf": {"compat", "config", "search", "renamed_keys"},
    "optuna": {"compat", "search"},
    "matplotlib": {
        "drawing",
        "reporting",
        "search",
    },  # reporting, search: a type, and the reader of its own pictures
    "jinja2": {"reporting"},
    "tensorboard": {"reporting"},
    "sklearn": {"evaluation", "nn", "reporting"},
}
# module of the private calls → its library, and what that itself takes or gives
PRIVATE_CALLS = {
    "__init__": set(),
    "hydra": {"hydra", "omegaconf"},
    "lightning": {"lightning", "torch"},  # torch: a type
    "omegaconf": {"omegaconf"},
    "optuna": {"optuna"},
    "optuna_sweeper": {"hydra_plugins", "optuna"},
    "torch": {"torch"},
    "torchmetrics": {"torchmetrics"},
    "transformers": {"transformers", "torch"},  # torch: a type
}
# room of the search → the rooms, and files beside them, that it may import; ``search.py`` and ``announcements.py`` put the rooms together
SEARCH_ROOMS = {
    "space": {"settings", "spelling"},
    "study": {"settings", "space", "processes"},
    "trials": {"settings", "space", "study", "processes"},
    "results": {"processes", "spelling"},  # it knows a study by what is in the database
    "settings": set(),
    "spelling": set(),
    "processes": set(),
    "announcements": {"settings", "study", "results"},
    "search": {"announcements", "settings", "spelling", "space", "study", "trials", "results"},
    "sweeper": {"search", "settings"},
}
FOUR_ROOMS = {"space", "study", "trials", "results"}
MOST_ARROWS = 10  # imports of a file of one room by a file of another
TRANSFORMERS = {"compat", "models", "training", "kernels"}  # training, kernels: a type only
TRANSFORMERS_FILES = {"data/model_config.py", "data/tokenization.py", "data/prepare.py"}
TRANSFORMERS_FILES |= {"data/row_encoder.py"}  # a type only

FILES = sorted(ROOT.rglob("*.py"))


def layer(path: Path) -> str | None:
    """The layer that a file belongs to; None for entry points and the package itself."""
    parts = path.relative_to(ROOT).parts
    name = parts[0].removesuffix(".py")
    return name if name in BELOW else None


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from bert_ft import layout` imports the module of that name
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == ROOT.name)
            if node.module != ROOT.name:
                yield node.module or ""


def imported_files(path: Path) -> set[Path]:
    """The files of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # what is imported from a package may be a file of it, or a name in its __init__.py
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {file for name in names if (file := file_of(name)) is not None}
    return found


def file_of(name: str) -> Path | None:
    """The file of a module, or of the one that has this name in it; ``None`` outside of the package."""
    parts = name.split(".")
    if parts[0] != ROOT.name:
        return None
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[1:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    raise AssertionError(name)


def room(path: Path) -> str | None:
    """The room of the search that a file is in, or its own name beside the rooms; ``None`` for other files."""
    parts = path.relative_to(ROOT).parts
    return parts[1].removesuffix(".py") if parts[0] == "search" and parts[1] != "__init__.py" else None


def test_every_folder_has_its_layer():
    folders = {path.relative_to(ROOT).parts[0] for path in FILES if path.parent != ROOT}
    assert folders <= BELOW.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path):
    here = layer(path)
    if here is None:
        return
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "bert_ft" and rest:
            target = rest.split(".")[0]
            assert target in {here} | BELOW[here] | FOUNDATION, f"{here} imports {name}"
        if package in HOMES:
            assert here in HOMES[package], f"{here} imports {name}"
        if package == "transformers" and str(path.relative_to(ROOT)) not in TRANSFORMERS_FILES:
            assert here in TRANSFORMERS, f"{here} imports {name}"


def test_private_calls_of_a_library_load_no_other():
    modules = {path.stem: path for path in (ROOT / "compat").glob("*.py")}
    assert modules.keys() == PRIVATE_CALLS.keys()
    for name, path in modules.items():
        libraries = {imported.partition(".")[0] for imported in imports(path)} - sys.stdlib_module_names
        assert libraries <= PRIVATE_CALLS[name], name


def test_no_imports_go_in_a_circle():
    order = TopologicalSorter({path: imported_files(path) for path in FILES})
    try:
        order.prepare()
    except CycleError as error:
        circle = " → ".join(str(path.relative_to(ROOT)) for path in reversed(error.args[1]))
        pytest.fail(f"a circle of imports: {circle}")


def test_the_rooms_of_the_search_import_downward():
    assert {room(path) for path in FILES} - {None} == SEARCH_ROOMS.keys()
    for path in FILES:
        for other in imported_files(path):
            here, there = room(path), room(other)
            if here is not None and there is not None and here != there:
                assert there in SEARCH_ROOMS[here], f"{path.name} imports {other.name}"


def test_few_arrows_between_the_rooms():
    arrows = [
        f"{here}/{path.stem} → {there}/{other.stem}"
        for path in FILES
        for other in imported_files(path)
        if {here := room(path), there := room(other)} <= FOUR_ROOMS and here != there
    ]
    assert len(arrows) <= MOST_ARROWS, arrows


@pytest.mark.parametrize("path", [path for path in FILES if layer(path) is None], ids=lambda path: path.name)
def test_entry_points_import_nothing_heavy_at_the_top(path):
    """``--help`` and ``--cfg job`` answer at once: what is heavy is imported inside ``main``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    allowed = {"bert_ft.config.entry", "bert_ft.limits", "omegaconf", "hydra", "typing", "__future__"}
    assert set(top) <= allowed


# where labels are known: tasks, the losses that they choose from, and the prediction of masked tokens
KNOWS_LABELS = ("tasks/", "nn/losses.py", "training/pretraining_objective.py")
OF_LABELS = re.compile(r"cross_entropy|argmax|class_ids|multiclass\w*|Multiclass\w*")


def identifiers(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]
        elif isinstance(node, ast.arg):
            yield node.arg


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_tasks_know_what_a_label_is(path):
    found = {name for name in identifiers(path) if OF_LABELS.fullmatch(name)}
    if not str(path.relative_to(ROOT)).startswith(KNOWS_LABELS):
        assert not found


def test_the_walk_finds_what_it_looks_for():
    assert {"cross_entropy", "argmax"} <= set(identifiers(ROOT / "tasks/single_label.py"))


TOP_OF_TASKS = {
    "abc",
    "ast",
    "contextlib",
    "json",
    "collections",
    "decimal",
    "dataclasses",
    "importlib",
    "itertools",
    "math",
    "re",
    "reprlib",
    "typing",
    "__future__",
}


@pytest.mark.parametrize(
    "path", [*(ROOT / "tasks").glob("*.py"), ROOT / "data/targets.py"], ids=lambda path: path.name
)
def test_tasks_import_nothing_heavy_at_the_top(path):
    """A configuration is judged by its task before anything is loaded."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "bert_ft":
                names = [f"bert_ft.{alias.name}" for alias in node.names]
        else:
            continue
        light = {
            "bert_ft.errors",
            "bert_ft.layout",
            "bert_ft.limits",
            "bert_ft.trust",
            "bert_ft.data.targets",
        }
        assert all(
            name.split(".")[0] in TOP_OF_TASKS or name in light or name.startswith("bert_ft.tasks.")
            for name in names
        )


def test_only_one_file_instantiates():
    callers = [path for path in FILES if "hydra.utils" in set(imports(path))]
    # samplers and pruners are Optuna's, and custom_search_space is a function: Hydra's sweeper gets them as the official one
    assert {str(path.relative_to(ROOT)) for path in callers} == {
        "config/instantiate.py",
        "search/space/sampling.py",
        "search/space/samplers.py",
    }


def test_importing_the_package_imports_nothing():
    assert not list(imports(ROOT / "__init__.py"))
