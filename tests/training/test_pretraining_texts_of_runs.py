"""Which texts a pre-training stage reads, in whole runs on a tiny encoder."""

import json

import pytest

from bert_ft.config.build.fine_tuning import build_fine_tuning
from bert_ft.config.build.pretraining import build_pretraining
from bert_ft.data.texts import normalized
from bert_ft.errors import ConfigError, DataError
from bert_ft.models.encoder import EncoderSpec
from bert_ft.pretrain import main
from tests.conftest import make_rows, write_csv

from .running import small_run, small_stage, train

pytestmark = pytest.mark.slow


def record_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_plain_lines_without_labels(tmp_path, tiny_encoder, caplog):
    rows = [text for text, _ in make_rows(40, seed=1)]
    path, kept = tmp_path / "domain.txt", tmp_path / "kept.txt"
    path.write_text("\n".join([*rows, rows[0].upper()]) + "\n", encoding="utf-8")
    kept.write_text(rows[0] + "\n", encoding="utf-8")
    files = {"train": path, "test": kept}
    settings = ["pretrain=mlm", "pretrain.trainer.max_epochs=1"]
    value = main(small_stage(tmp_path / "run", tiny_encoder, files, *settings))
    record = record_of(tmp_path / "run")
    assert value == record["val"]["loss"]
    assert record["texts"]["left_out"] == sum(normalized(text) == rows[0] for text in rows) + 1
    assert record["texts"]["origin"] == str(path)
    assert (
        "has no masked-LM head; a new one is initialized at random, with its decoder tied to" in caplog.text
    )
    EncoderSpec(str(tmp_path / "run/model")).load()
    again = small_stage(
        tmp_path / "again", tmp_path / "run/model", files, "pretrain=contrastive", "pretrain.supervised=true"
    )
    with pytest.raises(ConfigError, match=r"pretrain\.supervised=true: .*domain\.txt has no labels"):
        main(again)
    with pytest.raises(DataError, match=r"domain\.txt: has no labels, but fine-tuning and testing need them"):
        build_fine_tuning(small_run(tmp_path / "train", tiny_encoder, files), tmp_path / "train")


def test_copies_are_dropped_where_that_is_wanted(tmp_path, tiny_encoder):
    path = tmp_path / "domain.txt"
    path.write_text("\n".join(f"a film {number}" for number in range(20)) + "\n" + "a film 3\n" * 5)
    for wanted, num_texts in ((True, 20), (False, 25)):
        settings = ["pretrain=mlm", f"data.deduplicate={wanted}"]
        folder = tmp_path / str(wanted)
        run = build_pretraining(small_stage(folder, tiny_encoder, {"train": path}, *settings), folder)
        assert len(run.texts.train) + len(run.texts.held_out) == num_texts


class TestTexts:
    """What the stage before fine-tuning sees, as it is built."""

    @pytest.fixture
    def leaking(self, tmp_path):
        rows, test = make_rows(80, seed=5), make_rows(20, seed=6)
        return {
            "train": write_csv(tmp_path / "train.csv", [*rows, *test[:10]]),
            "test": write_csv(tmp_path / "test.csv", test),
        }

    @staticmethod
    def texts(run):
        parts = run.pretraining.texts.train, run.pretraining.texts.held_out
        return [normalized(text) for part in parts for text in part.texts["text"]]

    @pytest.mark.parametrize("unlabelled", [False, True])
    def test_none_of_the_evaluation(self, tmp_path, tiny_encoder, leaking, unlabelled):
        more = [f"data.unlabeled_file={leaking['test']}"] if unlabelled else []
        if unlabelled:  # the test rows, and others
            write_csv(leaking["test"].with_name("more.csv"), [*make_rows(20, seed=6), *make_rows(30, seed=7)])
            more = [f"data.unlabeled_file={tmp_path / 'more.csv'}"]
        config = small_run(tmp_path / "run", tiny_encoder, leaking, "pretrain=mlm", *more)
        run = build_fine_tuning(config, tmp_path / "run")
        found = self.texts(run)
        evaluated = {
            normalized(text)
            for name in ("validation", "test")
            for text in run.data.data.splits[name].texts["text"]
        }
        assert found
        assert evaluated.isdisjoint(found)
        assert run.pretraining.texts.num_left_out >= (20 if unlabelled else 10)

    def test_a_cached_stage_records_the_texts_of_its_own_run(self, tmp_path, tiny_encoder, leaking):
        """Without those that are left out, the texts of both are the same."""
        rows = make_rows(30, seed=7)
        left_out = {}
        for name, texts in {"clean": rows, "leaking": [*rows, *make_rows(20, seed=6)]}.items():
            write_csv(tmp_path / f"{name}.csv", texts)
            more = [f"data.unlabeled_file={tmp_path / name}.csv", f"data.cache_dir={tmp_path / 'cache'}"]
            _, metrics = train(tmp_path / name, tiny_encoder, leaking, "debug=fast", "pretrain=mlm", *more)
            record = metrics["pretraining"]
            assert (record["from_cache"] is not None) == (name == "leaking")
            assert name in record["texts"]["origin"]
            assert record["checkpoint"]["step"] <= 12  # three epochs of four batches
            left_out[name] = record["texts"]["left_out"]
        assert left_out == {"clean": 0, "leaking": 20}

    def test_unless_that_is_wanted(self, tmp_path, tiny_encoder, leaking):
        wanted = ["pretrain=mlm", "pretrain.include_evaluation_texts=true"]
        config = small_run(tmp_path / "run", tiny_encoder, leaking, *wanted)
        run = build_fine_tuning(config, tmp_path / "run")
        assert len(self.texts(run)) == sum(len(split) for split in run.data.data.splits.values())
        assert run.pretraining.texts.to_dict()["include_evaluation_texts"] is True
