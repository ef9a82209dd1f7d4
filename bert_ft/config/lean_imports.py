"""Parts of the libraries below that a training run imports but doesn't use, loaded when they are first asked for.

Lightning imports all of torchmetrics (audio, text, plots) and torch's compiler, transformers torch's agents for
elastic training: a third of the seconds until the first step. A module of ``DEFERRED`` is put in place without being
executed. What is imported from it by name at start-up has a stand-in here; whatever else is asked for executes
the module and is its own. So a name that a later version of a library adds costs time, and breaks nothing.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from types import ModuleType
from typing import Any, cast

StandIn = Callable[[], Any]


def defer_unused_imports() -> None:
    """Put ``DEFERRED`` into effect for modules that aren't imported yet."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def load_deferred() -> None:
    """Execute the modules that wait to be asked for, and defer no more."""
    while waiting := [module for name in DEFERRED if isinstance(module := sys.modules.get(name), _Deferred)]:
        load(waiting[0])  # which may import others, deferred as yet
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]


class _Deferred(ModuleType):
    """A module that is executed at the first question for something that it has no stand-in for."""

    def __getattr__(self, name: str) -> Any:
        state = self.__dict__
        if name in _UNANSWERED:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        stand_in = DEFERRED[self.__name__].get(name)
        if stand_in is not None:
            return state.setdefault(name, stand_in())
        submodule = f"{self.__name__}.{name}"
        by_itself = "__path__" in state and submodule.startswith(BY_THEMSELVES)
        if by_itself and importlib.util.find_spec(submodule) is not None:
            return importlib.import_module(submodule)
        load(self)
        return getattr(self, name)


# asked by the import system and by inspect of any module; most have none
_UNANSWERED = {"__path__", "__wrapped__"}


def load(module: ModuleType) -> None:
    """Execute a deferred module, its packages before it; its own names replace the stand-ins."""
    name = module.__name__
    for parent in _parents(name):
        if isinstance(sys.modules.get(parent), _Deferred):
            load(sys.modules[parent])
    if isinstance(module, _Deferred):
        if name == "torchmetrics":  # as it starts itself; see DEFERRED
            importlib.import_module("torchmetrics.utilities")
        loader = module.__dict__.pop("_deferred_loader")
        cast(ModuleType, module).__class__ = ModuleType
        loader.exec_module(module)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["_deferred_loader"] = self._loader
        module.__class__ = _Deferred


class _Imported(importlib.abc.Loader):
    """Gives the module that is there already."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        parent = sys.modules.get(fullname.rpartition(".")[0])
        if isinstance(parent, _Deferred) and not fullname.startswith(BY_THEMSELVES):
            load(parent)
            if fullname in sys.modules:  # the parent has imported it
                return importlib.machinery.ModuleSpec(fullname, _Imported())
        if fullname not in DEFERRED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


def _from(module: str, name: str, before: str | None = None) -> StandIn:
    """The object itself, from the submodule that defines it; ``before`` is imported first."""

    def find() -> Any:
        if before is not None:
            importlib.import_module(before)
        return getattr(importlib.import_module(module), name)

    return find


def _function_of(module: str, name: str) -> StandIn:
    """A function that loads the module when it is called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        deferred = sys.modules[module]
        load(deferred)
        return getattr(deferred, name)(*args, **kwargs)

    return lambda: call


def _class_of(module: str, name: str) -> StandIn:
    """A class without instances as long as the module isn't loaded, and then the real one's double."""

    def real() -> Any:
        deferred = sys.modules[module]
        load(deferred)
        return getattr(deferred, name)

    class Meta(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            return not isinstance(sys.modules[module], _Deferred) and isinstance(instance, real())

        def __subclasscheck__(cls, other: type) -> bool:
            return not isinstance(sys.modules[module], _Deferred) and issubclass(other, real())

        def __getattr__(cls, attribute: str) -> Any:
            return getattr(real(), attribute)

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            return real()(*args, **kwargs)

    return lambda: Meta(name, (), {})


def _decorator_without_effect() -> Any:
    def decorate(function: Any = None, *args: Any, **kwargs: Any) -> Any:
        return function if function is not None else decorate

    return decorate


_ANY: StandIn = lambda: Any  # noqa: E731

# submodules of deferred modules that can be imported before them
BY_THEMSELVES = (
    "torchmetrics.",
    "torch.distributed.checkpoint.hf_storage",
    "torch._dynamo._trace_wrapped_higher_order_op",
    "torch._inductor.config",
    "torch._inductor.custom_graph_pass",
    "torch.distributed.elastic.agent.server.api",
    "torch.distributed.tensor._utils",
    "torch.distributed.tensor.placement_types",
)

DEFERRED: Mapping[str, Mapping[str, StandIn]] = {
    "torchmetrics": {
        "__version__": lambda: version("torchmetrics"),
        "_logger": lambda: logging.getLogger("torchmetrics"),
        # its modules import each other in a circle that only holds from this end
        "Metric": _from("torchmetrics.metric", "Metric", before="torchmetrics.utilities"),
        "MetricCollection": _from(
            "torchmetrics.collections", "MetricCollection", before="torchmetrics.utilities"
        ),
    },
    "torchmetrics.functional": {},
    "torchmetrics.utilities.plot": {
        "_AX_TYPE": _ANY,
        "_CMAP_TYPE": _ANY,
        "_PLOT_OUT_TYPE": _ANY,
        **{
            name: _function_of("torchmetrics.utilities.plot", name)
            for name in ("plot_confusion_matrix", "plot_curve", "plot_single_or_multi_val")
        },
    },
    # nothing is compiled as long as nobody asks for more than this
    "torch._dynamo": {
        "OptimizedModule": _class_of("torch._dynamo", "OptimizedModule"),
        "allow_in_graph": _decorator_without_effect,
        "assume_constant_result": _decorator_without_effect,
        "disable": _decorator_without_effect,
        "graph_break": _decorator_without_effect,  # called at each optimizer step
    },
    "torch._inductor": {},
    "torch.distributed.elastic.agent.server": {},
    "torch.distributed.elastic.agent.server.api": {
        "_get_fq_hostname": _function_of("torch.distributed.elastic.agent.server.api", "_get_fq_hostname")
    },
    # sharded tensors, asked for by transformers at each checkpoint that it loads
    "torch.distributed.tensor": {
        "distribute_tensor": _function_of("torch.distributed.tensor", "distribute_tensor"),
        **{
            name: _class_of("torch.distributed.tensor", name)
            for name in ("DTensor", "Replicate", "Shard", "Partial")
        },
    },
    "torch.distributed.tensor._utils": {
        "compute_local_shape_and_global_offset": _function_of(
            "torch.distributed.tensor._utils", "compute_local_shape_and_global_offset"
        )
    },
    "torch.distributed.tensor.placement_types": {
        name: _class_of("torch.distributed.tensor.placement_types", name)
        for name in ("Shard", "_StridedShard")
    },
    "torch.distributed._composable.fsdp": {
        "fully_shard": _function_of("torch.distributed._composable.fsdp", "fully_shard")
    },
    "torch.distributed.fsdp": {
        name: _class_of("torch.distributed.fsdp", name)
        for name in ("CPUOffloadPolicy", "FullyShardedDataParallel", "MixedPrecisionPolicy")
    },
    "torch.distributed.checkpoint": {},
    "torch.distributed.checkpoint.hf_storage": {
        name: _class_of("torch.distributed.checkpoint.hf_storage", name)
        for name in ("HuggingFaceStorageReader", "HuggingFaceStorageWriter")
    },
    # for the losses of object detection
    "scipy.optimize": {"linear_sum_assignment": _function_of("scipy.optimize", "linear_sum_assignment")},
}
