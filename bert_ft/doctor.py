"""``python -m bert_ft.doctor``: what is installed, what is used for training here, and whether it works."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# extra → what needs it
EXTRAS = {
    "demo": "the demo: the encoder all-MiniLM and the BBC articles",
    "onnx": "bert_ft export",
    "postgresql": "a search's database on PostgreSQL",
    "mysql": "a search's database on MySQL",
    "joblib": "hydra/launcher=joblib",
    "submitit": "hydra/launcher=submitit",
    "ray": "hydra/launcher=ray",
}


def main() -> None:
    """Print the sections; exit with 1 if a needed package is missing or the self-test fails."""
    import sys

    words = sys.argv[1:]
    if words and words[0] in ("-h", "--help"):
        print("Print versions, device, kernels, memory and what is missing, and try a tiny training.")
        print("\nUsage: bert_ft doctor")
        return
    if words:
        print(f"{words[0]}: bert_ft doctor takes no settings", file=sys.stderr)
        sys.exit(2)
    problems: list[str] = []
    for title, lines in (
        ("Installed", installed(problems)),
        ("Optional", extras()),
        ("Device", device()),
        ("Fast kernels on a CPU", kernels()),
        ("Memory and disk", memory()),
        ("Self-test: a tiny BERT trains, saves, loads and predicts", self_test(problems)),
    ):
        print(title)
        try:
            for line in lines:
                print(f"  {line}", flush=True)
        except Exception as error:  # what is broken here mustn't hide the other sections
            problems.append(f"{title}: {type(error).__name__}: {error}")
            print(f"  {problems[-1]}")
    print(
        "\n".join(["", f"{len(problems)} problem(s):", *(f"  {line}" for line in problems)])
        if problems
        else "\nAll is well."
    )
    sys.exit(1 if problems else 0)


def installed(problems: list[str]) -> Iterator[str]:
    """Yield versions; a package that is missing, or of a version that isn't supported, is a problem."""
    import platform
    from importlib.metadata import PackageNotFoundError, requires, version
    from pathlib import Path

    from packaging.requirements import Requirement

    import bert_ft

    yield f"bert_ft {bert_ft.__version__} in {Path(bert_ft.__file__).parent}"
    yield f"Python {platform.python_version()}, {platform.platform()}"
    found = []
    for requirement in map(Requirement, requires("bert_ft") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            has = version(requirement.name)
        except PackageNotFoundError:
            problems.append(f"{requirement.name} is missing: pip install '{requirement}'")
            continue
        found.append(f"{requirement.name} {has}")
        if not requirement.specifier.contains(has, prereleases=True):
            problems.append(f"{requirement.name} {has} isn't supported: pip install '{requirement}'")
    yield from _wrapped(", ".join(found))
    yield from problems


def extras() -> Iterator[str]:
    """Yield for each extra whether it is installed, what needs it and how to install it."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    needed = list(map(Requirement, requires("bert_ft") or ()))
    for extra, use in EXTRAS.items():
        own = [
            each for each in needed if each.marker is not None and f'extra == "{extra}"' in str(each.marker)
        ]
        missing = []
        for requirement in own:
            try:
                version(requirement.name)
            except PackageNotFoundError:
                missing.append(requirement.name)
        state = f"missing: pip install 'bert_ft[{extra}]'" if missing else "installed"
        yield f"{extra}, for {use}: {state}"


def device() -> Iterator[str]:
    """Yield processor, threads, GPUs, and the precision that they are trained in by default."""
    import os

    import torch

    from bert_ft.training.environment import processor
    from bert_ft.training.precision import automatic_precision, effective_precision

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield f"{processor()}, cores for this process: {usable}, threads of torch: {torch.get_num_threads()}"
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else range(0)
    for gpu in gpus:
        free, total = torch.cuda.mem_get_info(gpu)
        yield f"GPU {gpu}: {torch.cuda.get_device_name(gpu)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    if not gpus:
        yield "no GPU that torch can use; training runs on the CPU"
    decided = automatic_precision([torch.cuda.get_device_capability(gpu) for gpu in gpus])
    yield f"trainer.precision=auto trains in {effective_precision(decided, on_cpu=not gpus).effective}"


def kernels() -> Iterator[str]:
    """Yield for each kernel whether it is used, and why; each is compared with torch's on a tiny input."""
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertAttention

    from bert_ft.kernels import dropout, first_token, linear, packed_attention, split_embedding

    def compared(check: Callable[[], None]) -> str:
        try:
            check()
        except Exception as error:
            return f"not used, since it differs from torch's ({error}); torch's is used"
        return "used; it agrees with torch's"

    yield f"dropout by 16 random bits: {compared(dropout.check)}"
    if linear.onednn_is_faster():
        yield f"linear layers by oneDNN: {compared(linear.check)}"
    else:
        yield "linear layers by oneDNN: not used, since torch's own are as fast on this processor"
    yield f"attention on packed texts: {compared(packed_attention.check)}"
    yield f"last layer for first tokens only: {compared(lambda: first_token.check(BertAttention, BertConfig))}"
    yield f"embedding of used rows: {compared(split_embedding.check)}"
    yield "encoder.kernels=plain uses none of them"


def memory() -> Iterator[str]:
    """Yield free memory, and free disk space where runs, cache and temporary files are."""
    import shutil
    import tempfile
    from pathlib import Path

    import psutil

    from bert_ft.data.arrow_cache import cache_folder

    found = psutil.virtual_memory()
    yield f"memory: {found.available / 1e9:.1f} of {found.total / 1e9:.1f} GB free"
    places = {
        "this folder, for runs": Path.cwd(),
        "tokenized data (data.cache_dir)": cache_folder(None),
        "temporary files (TMPDIR)": Path(tempfile.gettempdir()),
    }
    for name, place in places.items():
        existing = next(path for path in (place, *place.parents) if path.exists())
        yield f"{name}: {shutil.disk_usage(existing).free / 1e9:.1f} GB free in {place}"


def self_test(problems: list[str]) -> Iterator[str]:
    """Yield whether a training of a few steps works; a failure is a problem, with its traceback."""
    import contextlib
    import io
    import logging
    import tempfile
    import time
    import traceback
    from pathlib import Path

    start = time.monotonic()
    said = io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bert_ft_doctor_") as folder,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            where = _train_and_predict(Path(folder))
    except Exception as error:
        problems.append(f"the self-test failed: {type(error).__name__}: {error}")
        yield from traceback.format_exc().splitlines()
    else:
        yield f"passed on {where} in {time.monotonic() - start:.1f} s"
    finally:
        logging.disable(logging.NOTSET)


def _train_and_predict(folder: Path) -> str:
    """Train, save, load and predict in an empty folder; return the device."""
    import csv
    import math

    from bert_ft.config.startup import heavy_imports

    with heavy_imports():
        from bert_ft.config.build.fine_tuning import build_fine_tuning
        from bert_ft.config.composition import judged
        from bert_ft.config.text_values import text_override
        from bert_ft.inference.files import predict_file
        from bert_ft.models.bundle import load_bundle

    texts = [(f"a {word} film {number}", word) for number in range(24) for word in ("fine", "dull")]
    rows = folder / "rows.csv"
    rows.write_text("\n".join(["text,label", *(",".join(row) for row in texts)]), encoding="utf-8")
    settings = (
        *("data=files", "encoder=any", "data.max_length=16", "data.batch_size=8", "trainer.max_steps=4"),
        *("trainer.enable_progress_bar=false", "monitor=none", "logger=none", "report=false", "keep=model"),
        text_override("data.train_file", str(rows)),
        text_override("data.cache_dir", str(folder / "cache")),
        text_override("encoder.name_or_path", str(_tiny_encoder(folder / "encoder", texts))),
    )
    run = build_fine_tuning(judged("train", settings), folder / "run")
    record = run.run()
    if not math.isfinite(record["val"]["loss"]):
        raise ArithmeticError(f"the validation loss is {record['val']['loss']}")
    bundle = load_bundle(str(folder / "run/model"), ())
    device = run.trainer.strategy.root_device
    predict_file(bundle, rows, folder / "labeled.csv", text_column="text", device=device)
    with (folder / "labeled.csv").open(encoding="utf-8", newline="") as file:
        predicted = [row["prediction"] for row in csv.DictReader(file)]
    if len(predicted) != len(texts) or not set(predicted) <= {"fine", "dull"}:
        raise ValueError(f"{len(texts)} texts got the predictions {predicted}")
    return str(device)


def _tiny_encoder(folder: Path, texts: list[tuple[str, str]]) -> Path:
    """Write a BERT of 2 layers, 32 wide, with random weights, and a tokenizer of the texts' words."""
    from transformers import BertConfig, BertModel, BertTokenizer

    words = sorted({word for text, _ in texts for word in text.split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    BertTokenizer(vocab={word: index for index, word in enumerate(vocabulary)}).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 78)


if __name__ == "__main__":
    main()
