"""A saved model as one ONNX file: the whole classifier, for padded batches."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from bert_ft.atomic_file import replaced
from bert_ft.compat.transformers import attention_of
from bert_ft.data.long_texts import WINDOWS
from bert_ft.errors import ConfigError, DataError
from bert_ft.models.attention import is_own
from bert_ft.models.bundle import Bundle
from bert_ft.models.families import FAMILIES, family_of, model_types
from bert_ft.models.inputs import takes_token_types
from bert_ft.models.padded import PaddedClassifier
from bert_ft.nn.padded_pooling import PADDED_POOLINGS
from bert_ft.tasks.thresholds import THRESHOLDS

OPSET = 20  # the first with GELU as one operator
MAX_BYTES = 2**31 - 2**20  # protobuf's limit of one file, less what the graph itself may take
_NOISY = (
    "torch.onnx._internal.exporter._registration",  # torchvision, which nothing here needs, isn't installed
    # shapes behind a ReduceMax aren't known to the optimizer (it prints that as well): then layer norms are
    # left to be fused by the session
    "fusion_skiplayernorm",
)


def export_onnx(bundle: Bundle, path: Path | str, *, optimize: bool = False) -> Path:
    """Write the classifier to ``path`` and return it; the file appears only when it is complete.

    Inputs are int64 ``(batch, length)``, of any batch and any length up to the encoder's: ``input_ids``,
    ``attention_mask`` and, where the bundle's tokenizer gives them, ``token_type_ids``. Padding comes
    after the tokens. The output is ``logits``, float32 ``(batch, num_labels)``; of a regression, numbers in the file's unit.
    The file's metadata has the ``task``, the names of its ``labels`` and, if some were chosen, the ``thresholds``, as JSON.

    Args:
        bundle: the model to export; it is not changed.
        path: a new file.
        optimize: use ONNX Runtime's own operators (attention, GELU, and layer norm fused with what
            precedes it), which no other runtime supports.

    Raises:
        ConfigError: the packages of the extra ``onnx`` aren't installed, the encoder can't be optimized, or
            the pooling or the attention is user-defined, or long texts are windowed.
        DataError: ``path`` can't be written, or one ONNX file can't hold the weights.
    """
    path = Path(path)
    check_export(path)
    _check_size(bundle, path)
    pooling = getattr(bundle.classifier, "pooling", None)
    if type(pooling) not in PADDED_POOLINGS:
        raise ConfigError(
            f"model.pooling={type(pooling).__name__}: your own class pools packed batches, but an ONNX graph "
            "takes padded ones; only a model with one of this package's poolings can be exported"
        )
    if bundle.long_texts.mode == WINDOWS:
        raise ConfigError(
            f"output={path}: the model was trained with data.long_texts=windows, and a graph takes a whole text: it can't "
            "join the windows of a long one; predict with bert_ft.predict, or train with data.long_texts=cut"
        )
    config = bundle.classifier.config
    if is_own(attention_of(config)):
        raise ConfigError(
            f"encoder.attn_implementation={attention_of(config)}: an ONNX graph has this package's "
            "attention; a model with your own attention can't be exported"
        )
    if not family_of(config).exports:
        raise ConfigError(
            f"output={path}: transformers' {config.model_type} can't be exported: torch finds no graph in its code; "
            "predict with bert_ft.predict"
        )
    if optimize and not family_of(config).ort_attention:
        raise ConfigError(
            f"optimize=true: ONNX Runtime has no operators for the layers of {config.model_type!r} (it has "
            f"them for {model_types('ort_attention')}); set optimize=false"
        )
    with replaced(path) as unfinished, _quiet():
        if config.model_type in FAMILIES:
            _write(bundle, unfinished, optimize)
        else:
            _try(bundle, unfinished)
    return path


def check_export(path: Path) -> None:
    """Refuse an impossible export before any work is done."""
    packages = ("onnx", "onnxscript", "onnxruntime")
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"output={path}: an export needs the extra `onnx` ({', '.join(missing)} can't be found); "
            "install it with: pip install 'bert_ft[onnx]'"
        )
    if path.exists():
        raise DataError(f"output={path}: exists already; give a new file or remove this one")
    if not path.absolute().parent.is_dir():
        raise DataError(f"output={path}: there is no folder {path.parent}")


def _check_size(bundle: Bundle, path: Path) -> None:
    size = sum(4 * value.numel() for value in bundle.classifier.saved_state().values())
    if size > MAX_BYTES:
        raise DataError(
            f"output={path}: the weights take {size / 1e9:.1f} GB, and one ONNX file holds "
            f"{MAX_BYTES / 1e9:.1f} GB at most; export a smaller encoder"
        )


def _input_names(bundle: Bundle) -> list[str]:
    names = ["input_ids", "attention_mask"]
    if "token_type_ids" in bundle.tokenizer.model_input_names and takes_token_types(
        bundle.classifier.encoder
    ):
        names.append("token_type_ids")
    return names


def _write(bundle: Bundle, path: Path, optimize: bool) -> None:
    names = _input_names(bundle)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    program = torch.onnx.export(
        _padded(bundle, ort_attention=optimize),
        tuple(_example()[name] for name in names),
        input_names=names,
        output_names=["logits"],
        dynamic_shapes=dict.fromkeys(names, axes),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(_metadata(bundle))
    if not optimize:
        program.save(path, external_data=False)
        return
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_by_fusion

    config: Any = bundle.classifier.config
    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False  # it takes the attention's mask away
    optimized = optimize_by_fusion(
        program.model_proto,
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        optimization_options=options,
    )
    optimized.model.ClearField("metadata_props")
    optimized.model.metadata_props.extend(program.model_proto.metadata_props)
    optimized.save_model_to_file(str(path))


def _metadata(bundle: Bundle) -> dict[str, str]:
    """Return what the logits need to become predictions, each as JSON."""
    of_labels = getattr(bundle.classifier.config, THRESHOLDS, None)
    return {
        "task": json.dumps(bundle.task.name),
        "labels": json.dumps(bundle.task.names, ensure_ascii=False),
        **({THRESHOLDS: json.dumps(of_labels, ensure_ascii=False)} if of_labels else {}),
    }


def _padded(bundle: Bundle, *, ort_attention: bool = False) -> PaddedClassifier:
    scale = bundle.task.output_scale()
    return PaddedClassifier(bundle.classifier, ort_attention=ort_attention, output_scale=scale).eval()


def _try(bundle: Bundle, path: Path) -> None:
    """Export a model whose family isn't in the table; refuse it if the graph's logits differ from the model's."""
    import onnxruntime

    who = f"output={path.parent}: transformers' {bundle.classifier.config.model_type} can't be exported"
    ids = torch.arange(2, 24).view(2, 11)  # of another shape than the traced ones
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    inputs = dict(zip(_input_names(bundle), (ids, mask, torch.zeros_like(ids)), strict=False))
    with torch.no_grad():
        expected = _padded(bundle)(**inputs)
    try:
        _write(bundle, path, optimize=False)
        session = onnxruntime.InferenceSession(str(path))
        (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    except Exception as error:  # whatever the exporter and the runtime may raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{who} ({reason}); predict with bert_ft.predict") from error
    # other kernels round otherwise, by 1e-6 of the logits' size for each layer or so
    if not torch.allclose(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-3):
        raise ConfigError(f"{who}: the graph gives different logits; predict with bert_ft.predict")


def _example() -> dict[str, torch.Tensor]:
    """Return inputs for tracing. Both axes are above 1 and there is padding: transformers leaves out a mask of ones."""
    ids = torch.ones(2, 3, dtype=torch.int64)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the output of the exporter and the optimizer."""
    disabled = logging.root.manager.disable
    logging.disable(logging.INFO)  # each step, by loggers of a dozen names
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(None):
        # torch's own use of what it has deprecated
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
        # all inputs have the same axes, so that those of the first name them
        warnings.filterwarnings("ignore", message="# The axis name: (batch|length) will not be used")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            logging.disable(disabled)
