"""Whole runs with ``encoder.kernels=fast`` and ``plain``: without dropout they are the same training."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import BertModel

from bert_ft.errors import CheckpointError
from bert_ft.kernels import linear
from bert_ft.kernels.linear import Linear
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.models.first_token import computes_first_tokens
from bert_ft.pretrain import main as pretrain
from bert_ft.training.encoder_module import EncoderModule
from tests.conftest import make_rows, write_csv
from tests.training.running import SMALL_STAGE, small_stage, train

pytestmark = pytest.mark.slow

NUM_STEPS = 20
CLOSE = 1e-5
NO_DROPOUT = ["encoder.hidden_dropout=0", "encoder.attention_dropout=0"]
HEADS = {
    "linear": ["model=bert_linear", "model.dropout=0"],
    "residual": ["model=bert_residual", "model.pooling=cls", "model.head.dropout=0"],
}
# weight decay: embeddings that no text uses have it in closed form
RUN = [*NO_DROPOUT, "optimizer.lr=1e-3", "optimizer.weight_decay=0.1"]
RUN += [f"trainer.max_steps={NUM_STEPS}", "trainer.max_epochs=-1"]
STAGE = [*NO_DROPOUT, "pretrain=mlm", "pretrain.optimizer.lr=1e-3"]
STAGE += [f"pretrain.trainer.max_steps={NUM_STEPS}", "pretrain.trainer.max_epochs=-1"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, tiny_encoder):
    """The tiny encoder with larger weights, far from the near-linear start."""
    folder = tmp_path_factory.mktemp("encoder")
    shutil.copytree(tiny_encoder, folder, dirs_exist_ok=True)
    model = BertModel.from_pretrained(tiny_encoder)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def steps(monkeypatch):
    """The loss of each step, and the encoder that was trained last."""
    monkeypatch.setattr(linear, "onednn_is_faster", lambda: True)
    seen = {"losses": []}
    plain = EncoderModule.on_train_batch_end

    def note(module, *given):
        seen["losses"].append(module.batch_loss.item())
        seen["encoder"] = module.trained.encoder
        plain(module, *given)

    monkeypatch.setattr(EncoderModule, "on_train_batch_end", note)
    return seen


def kernels_in(encoder) -> list[str]:
    linear_types = {type(module) for module in encoder.modules() if isinstance(module, nn.Linear)}
    found = {
        "linear": linear_types == {Linear},
        "split embedding": type(encoder.get_input_embeddings()) is SplitEmbedding,
        "first tokens": computes_first_tokens(encoder),
    }
    return [name for name, is_there in found.items() if is_there]


def unused_rows(state) -> torch.Tensor:
    """Those of letters, except for ``a``, which are in no training text; the embedding is saved whole, under one name."""
    (table,) = (value for name, value in state.items() if "word_embeddings" in name)
    return table[6:57]


@pytest.mark.parametrize("head", HEADS)
def test_fine_tuning_agrees(tmp_path, encoder, reviews, steps, head):
    losses, metrics = {}, {}
    rows = [(f"{text} quick jumpy zebra {text}", label) for text, label in make_rows(40, seed=5)]
    reviews = reviews | {"validation": write_csv(tmp_path / "unseen.csv", rows)}  # words that training hasn't
    for kernels in ("fast", "plain"):
        steps["losses"] = []
        choice = f"encoder.kernels={kernels}"
        _, metrics[kernels] = train(tmp_path / kernels, encoder, reviews, *RUN, *HEADS[head], choice)
        losses[kernels] = steps["losses"]
        expected = ["linear", "split embedding", "first tokens"] if kernels == "fast" else []
        assert kernels_in(steps["encoder"]) == expected
    assert len(losses["fast"]) == NUM_STEPS
    assert losses["fast"] == pytest.approx(losses["plain"], rel=0, abs=CLOSE)
    for split in ("val", "test"):
        assert metrics["fast"][split] == pytest.approx(metrics["plain"][split], abs=1e-4)
    decayed = [
        unused_rows(load_file(tmp_path / kernels / "model/model.safetensors"))
        for kernels in ("fast", "plain")
    ]
    torch.testing.assert_close(*decayed, rtol=1e-6, atol=0)
    assert (decayed[0].abs() < unused_rows(load_file(encoder / "model.safetensors")).abs()).all()
    last = [torch.load(tmp_path / kernels / "checkpoints/last.ckpt", weights_only=True) for kernels in losses]
    torch.testing.assert_close(*(unused_rows(each["state_dict"]) for each in last), rtol=1e-6, atol=0)


def test_pretraining_agrees(tmp_path, encoder, reviews, steps):
    losses = {}
    for kernels in ("fast", "plain"):
        steps["losses"] = []
        choice = f"encoder.kernels={kernels}"
        pretrain(small_stage(tmp_path / kernels, encoder, reviews, *STAGE, choice))
        losses[kernels] = steps["losses"]
        assert kernels_in(steps["encoder"]) == (["linear"] if kernels == "fast" else [])
    assert len(losses["fast"]) == NUM_STEPS
    assert losses["fast"] == pytest.approx(losses["plain"], rel=0, abs=CLOSE)
    assert min(losses["plain"]) < 0.9 * losses["plain"][0]  # they moved


def test_a_checkpoint_of_the_other_kernels_is_refused(tmp_path, encoder, reviews):
    """Its optimizer's moments are of other rows."""
    train(tmp_path, encoder, reviews, *RUN)
    (tmp_path / "metrics.json").unlink()
    resume = [f"resume_from={tmp_path / 'checkpoints/last.ckpt'}", "encoder.kernels=plain"]
    with pytest.raises(CheckpointError, match=r"continue with the same training texts and encoder\.kernels"):
        train(tmp_path, encoder, reviews, *RUN, *resume)


def test_a_cached_stage_of_the_other_kernels_is_not_taken(tmp_path, encoder, reviews):
    stage = [setting for setting in STAGE if setting not in NO_DROPOUT]
    for kernels in ("fast", "plain"):
        settings = [
            *stage,
            *SMALL_STAGE,
            *RUN,
            f"encoder.kernels={kernels}",
            f"data.cache_dir={tmp_path / 'cache'}",
        ]
        _, metrics = train(tmp_path / kernels, encoder, reviews, *settings)
        assert metrics["pretraining"]["from_cache"] is None
    (stored,) = (tmp_path / "cache").glob("pretraining")
    assert len([path for path in stored.iterdir() if path.is_dir()]) == 2
