"""``python -m bert_ft.export``: write a saved model as one ONNX file."""

from typing import TYPE_CHECKING

from bert_ft.config.entry import entry_point

if TYPE_CHECKING:  # Ctrl-C is taken over first: bert_ft.config
    from omegaconf import DictConfig


class Keys:
    """Keys of ``conf/export.yaml`` and their types."""

    bundle: str
    output: str
    optimize: bool


@entry_point("export", keys=Keys)
def main(config: "DictConfig") -> None:
    """Write the saved model as an ONNX graph."""
    from pathlib import Path

    from bert_ft.config.startup import heavy_imports

    with heavy_imports():
        from bert_ft.inference.onnx import check_export, export_onnx
        from bert_ft.models.bundle import load_bundle

    check_export(Path(config.output))
    bundle = load_bundle(config.bundle, config.trust)
    path = export_onnx(bundle, config.output, optimize=config.optimize)
    print(f"{path.stat().st_size / 1e6:.1f} MB written: {path}")


if __name__ == "__main__":
    main()
