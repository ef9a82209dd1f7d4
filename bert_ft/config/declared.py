"""Read the limits that a class or function of this package declares, from its source: importing it may take seconds."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import bert_ft
from bert_ft.limits import Rule, rule_of


@cache
def declared(target: str) -> dict[str, Rule]:
    """Return the rule of each argument of a ``_target_`` in this package; empty for other targets."""
    module, _, name = target.rpartition(".")
    found = {}
    for argument, annotation, source in _arguments(module, name):
        try:
            hint = eval(compile(ast.Expression(annotation), source.name, "eval"), {}, source)
        except NameError:  # a type of a library, which no configuration contains
            continue
        if (rule := rule_of(hint)) is not None:
            found[argument] = rule
    return found


class _Source(dict[str, Any]):
    """Names of a module that its annotations need; dictionaries keep only their keys."""

    def __init__(self, module: str) -> None:
        super().__init__()
        path = Path(bert_ft.__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
        self.name = module
        self.definitions: dict[str, ast.stmt] = {}
        self.imports: dict[str, tuple[str, str]] = {}  # name → module and name there
        for node in ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else ():
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                    self.definitions[name] = node
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    self.definitions[name] = node
                case ast.ImportFrom(module=str(origin)):
                    self.imports |= {each.asname or each.name: (origin, each.name) for each in node.names}

    def __missing__(self, name: str) -> Any:
        if name in self.imports:
            module, original = self.imports[name]
            if module == "bert_ft.limits" or module.partition(".")[0] in sys.stdlib_module_names:
                return getattr(import_module(module), original)
            if module.startswith("bert_ft."):
                return _source(module)[original]
        value = getattr(self.definitions.get(name), "value", None)
        if value is None:
            raise KeyError(name)
        if isinstance(value, ast.Dict):
            nothing = ast.Constant(None)
            pairs = zip(value.keys, value.values, strict=True)
            value = ast.Dict(value.keys, [each if key is None else nothing for key, each in pairs])
        expression = ast.fix_missing_locations(ast.Expression(value))
        return eval(compile(expression, self.name, "eval"), {}, self)


_source = cache(_Source)


def _arguments(module: str, name: str) -> Iterator[tuple[str, ast.expr, _Source]]:
    """Yield each argument, its annotation and the annotation's source; without ``__init__``, those of the bases."""
    if not module.startswith("bert_ft."):
        return
    source = _source(module)
    if name in source.imports:
        yield from _arguments(*source.imports[name])
    node = source.definitions.get(name)
    body = node.body if isinstance(node, ast.ClassDef) else [node]
    own = [each for each in body if isinstance(each, ast.FunctionDef) and each.name in (name, "__init__")]
    for function in own:
        for argument in function.args.args + function.args.kwonlyargs:
            if argument.annotation is not None:
                yield argument.arg, argument.annotation, source
    if isinstance(node, ast.ClassDef) and not own:
        for base in node.bases:
            if isinstance(base, ast.Name):
                yield from _arguments(module, base.id)
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                yield field.target.id, field.annotation, source
