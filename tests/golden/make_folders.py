"""Write ``folders/``: models saved by an old version, and what they predicted then. They must load for ever.

    PYTHONPATH=<checkout of that version> python -m tests.golden.make_folders

Those that are stored were made by commit b24be9c (format 1 of the saved folder); they aren't made again by a later one,
which would be no test. A new format gets folders of its own, beside these.

Each has ``model/``, the saved folder as the run wrote it, with nothing changed or removed; ``input.csv``; and
``predictions.csv``, which ``bert_ft.predict`` wrote. The encoders are of two layers, 8 wide, trained for a few steps.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import make_rows
from tests.golden.commands import run, surroundings
from tests.golden.encoders import vocabulary, write_encoder
from tests.golden.texts import write_csv

FOLDERS = Path(__file__).with_name("folders")
SETTINGS = {
    "residual": ("model=bert_residual", "model.pooling_layers=2", "model.head.hidden_sizes=[8]"),
    "linear": ("model=bert_linear", "trainer.max_epochs=20"),
    "pair": (
        "model=bert_residual",
        "model.pooling=attention",
        "model.head.hidden_sizes=[12,8]",
        "data.text_pair_column=answer",
        "data.text_column=question",
        "data.label_column=kind",
    ),
}
COMMON = (
    "seed=0",
    "data=files",
    "data.max_length=24",
    "encoder=any",
    "optimizer.lr=1e-2",
    "optimizer.head_lr=null",
    "trainer.max_epochs=4",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "monitor=none",
    "report=false",
)
SPECIAL_TEXTS = (  # cut, unknown characters, a single word
    " ".join(["a lovely story", *["of the film"] * 20]),
    "Großartig! 素晴らしい, «dull» & 'grey'",
    "bad",
)


def make(name: str, folder: Path) -> None:
    """Train, save and predict in ``folder``, and keep what it leaves in ``FOLDERS``."""
    rows = make_rows(160, seed=0)
    words = vocabulary((text for text, _ in rows), min_count=1)
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 16}
    encoder = write_encoder(folder / "encoder", "bert", words, **sizes, max_position_embeddings=32)
    texts = [text for text, _ in make_rows(17, seed=1)] + list(SPECIAL_TEXTS)
    if name == "pair":
        train = write_csv(
            folder / "train.csv",
            ("question", "answer", "kind"),
            ((*_pair(text), label) for text, label in rows),
        )
        source = write_csv(folder / "input.csv", ("question", "answer"), map(_pair, texts))
    else:
        train = write_csv(folder / "train.csv", ("text", "label"), rows)
        source = write_csv(folder / "input.csv", ("text",), ((text,) for text in texts))
    files = (
        f"data.train_file={train}",
        f"data.cache_dir={folder / 'cache'}",
        f"encoder.name_or_path={encoder}",
    )
    run(["-m", "bert_ft.train", *COMMON, *SETTINGS[name], *files, f"hydra.run.dir={folder / 'run'}"], folder)
    model, target = folder / "run" / "model", folder / "predictions.csv"
    predict = (
        "-m",
        "bert_ft.predict",
        f"bundle={model}",
        f"input={source}",
        f"output={target}",
        "accelerator=cpu",
    )
    run(list(predict), folder)
    shutil.rmtree(FOLDERS / name, ignore_errors=True)
    shutil.copytree(model, FOLDERS / name / "model")
    shutil.copy(source, FOLDERS / name)
    shutil.copy(target, FOLDERS / name)


def _pair(text: str) -> Sequence[str]:
    """Return a text in two parts, of which the second may be empty."""
    words = text.split()
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])


if __name__ == "__main__":
    for each in SETTINGS:
        with TemporaryDirectory(prefix="golden_") as temporary:
            print(each, "by", surroundings(Path(temporary))["package"])
            make(each, Path(temporary))
