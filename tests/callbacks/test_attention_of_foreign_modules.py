"""Attention in modules of any kind: which encoder is looked at, in which texts, and that it doesn't change."""

import copy
import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader

from bert_ft.callbacks import attention as attention_module
from bert_ft.callbacks.attention import AttentionMonitor

from .attending import SEQUENCES, STATISTICS, Encoded, data_of, small
from .monitored import IGNORED_REMARKS, Log, arrays, fitted, trainer

pytestmark = [*IGNORED_REMARKS, pytest.mark.slow]


def looked_at(folder, module, **settings):
    """The log and the folder of a fit."""
    monitor = AttentionMonitor(folder / "monitor", num_pictured=3)
    log = fitted(folder, module, monitor, datamodule=data_of(module, SEQUENCES), **settings)
    return log, folder / "monitor"


class TestOtherModules:
    def test_an_encoder_anywhere(self, tmp_path):
        """A text without tokens has no attention."""
        log, folder = looked_at(tmp_path, Encoded(small("bert")))
        assert log.scalars.keys() == {0, 2}
        saved = arrays(folder / "attention_2.npz")
        assert saved["text_0_tokens"].tolist() == ["2", "10", "11", "3"]
        assert saved["text_1_attention"].shape == (2, 2, 3, 3)
        assert "text_2_tokens" not in saved

    def test_the_classifiers_encoder_before_others_and_the_modules_own_tokenizer(self, tmp_path):
        module = Encoded(small("bert"))
        module.classifier = small("electra", num_hidden_layers=3, num_attention_heads=4)
        module.tokenizer = SimpleNamespace(convert_ids_to_tokens=lambda ids: [f"<{token}>" for token in ids])
        saved = arrays(looked_at(tmp_path, module)[1] / "attention_2.npz")
        assert saved["entropy"].shape == (3, 4)
        assert saved["text_1_tokens"].tolist() == ["<2>", "<12>", "<3>"]

    def test_an_encoder_without_attention_is_named_once(self, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            log, folder = looked_at(tmp_path, Encoded(small("fnet")), max_epochs=3)
        warnings = [record.message for record in caplog.records if "attention" in record.message]
        message = "fnet has no token-to-token attention; there is nothing to show"
        assert warnings == [f"monitor: attention: {message}"]
        assert log.scalars == {}
        assert not folder.exists()

    def test_layers_without_numbers_are_left_out_of_the_scalars(self, tmp_path):
        module = Encoded(small("bert"))
        with torch.no_grad():
            module.inner[0].encoder.layer[1].attention.self.query.bias[0] = math.nan
        log, folder = looked_at(tmp_path, module)
        assert set(log.scalars[2]) == {f"attention/layer.0/{name}" for name in STATISTICS}
        saved = arrays(folder / "attention_2.npz")["entropy"]
        assert np.isnan(saved).tolist() == [[False, False], [True, False]]

    @pytest.mark.filterwarnings("ignore:Found .* in eval mode")
    def test_after_an_error_the_encoder_is_as_it_was(self, tmp_path, monkeypatch):
        module = Encoded(small("bert"))
        encoder = module.inner[0].train()
        encoder.embeddings.eval()
        modes = [child.training for child in encoder.modules()]
        implementation = encoder.config._attn_implementation
        assert implementation != "eager"

        def fail(*_):
            raise RuntimeError("broken off")

        monkeypatch.setattr(attention_module, "attention_statistics", fail)
        with pytest.raises(RuntimeError, match="broken off"):
            looked_at(tmp_path, module)
        assert [child.training for child in encoder.modules()] == modes
        assert encoder.config._attn_implementation == implementation
        assert not any(child._forward_hooks for child in encoder.modules())

    def test_the_first_of_several_loaders(self, tmp_path):
        module = Encoded(small("bert"))
        monitor, looks = AttentionMonitor(tmp_path), []
        monitor._look = lambda *_: looks.append(1)
        running = trainer(tmp_path, monitor, Log())
        running.state.fn = TrainerFn.FITTING
        for loader in range(2):
            for batch in range(3):
                monitor.on_validation_batch_start(running, module, None, batch, loader)
        assert looks == [1]


class Collated(Encoded):
    """Validated on batches as transformers' collators give them, without a data module."""

    def __init__(self, encoder, batches):
        super().__init__(encoder)
        self.collated = batches

    def validation_step(self, batch, batch_idx):
        return None

    def val_dataloader(self):
        return DataLoader(self.collated, batch_size=None)


@pytest.mark.parametrize("family", ["bert", "deberta"])
def test_a_foreign_module_is_looked_at_by_its_first_batch(tmp_path, family):
    encoder = small(family)
    ids = torch.randint(5, 50, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(9) < torch.tensor([[9], [4], [6]])).long()
    module = Collated(encoder, [{"input_ids": ids, "attention_mask": mask}] * 2)
    log = fitted(tmp_path, module, AttentionMonitor(tmp_path, num_texts=2))
    assert {path.name for path in tmp_path.glob("attention_*")} == {"attention_2.npz"}
    saved = arrays(tmp_path / "attention_2.npz")
    assert saved["text_1_tokens"].tolist() == [str(token) for token in ids[1, :4].tolist()]
    eager = copy.deepcopy(encoder).eval()
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        whole = eager(input_ids=ids, attention_mask=mask, output_attentions=True).attentions
    for number, length in enumerate((9, 4)):
        expected = torch.stack(whole)[:, number, :, :length, :length]
        np.testing.assert_allclose(saved[f"text_{number}_attention"], expected, rtol=0, atol=1e-3)
    assert log.of("attention/").keys() == {2}
