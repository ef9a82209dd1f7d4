"""Folders of data files, read as their card says and as ``data=files`` reads them."""

import datasets
import pytest
import yaml

from bert_ft.data.sources import Hub
from bert_ft.errors import DataError

TEXTS, LABELS = ["NA", "null", "None", "2020-01-02", "1.0"], ["None", "01", "NA", "2020-01-02", "x"]
CLASSES = {"class_label": {"names": {"0": "neg", "1": "pos"}}}


def card(**content) -> str:
    return f"---\n{yaml.safe_dump(content)}---\n"


def features(label="string") -> dict:
    return {"features": [{"name": "text", "dtype": "string"}, {"name": "label", "dtype": label}]}


def config(**settings) -> str:
    return card(configs=[{"config_name": "default", "data_files": "a.*", **settings}])


def folder(path, **files) -> Hub:
    for name, content in files.items():
        (path / name.replace("_", ".")).write_text(content, encoding="utf-8")
    return Hub(str(path))


def table(delimiter=",", header="text,label", labels=LABELS) -> str:
    lines = [
        *([header] if header else []),
        *(f"{text},{label}" for text, label in zip(TEXTS, labels, strict=True)),
    ]
    return "\n".join(lines).replace(",", delimiter) + "\n"


def rows(hub, path) -> dict:
    return hub.load(path / "cache").splits["train"].dataset[:]


JSON = "".join(
    f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in zip(TEXTS, LABELS, strict=True)
)


@pytest.mark.parametrize(
    "files",
    [
        {"a_csv": table(), "README_md": card(dataset_info=features())},
        {"a_jsonl": JSON, "README_md": card(dataset_info=features())},
        {"a_csv": table("^"), "README_md": config(sep="^")},
        {"a_csv": table(header=None), "README_md": config(names=["text", "label"])},
        {"a_csv": "# a comment\n" + table(), "README_md": config(skiprows=1)},
    ],
    ids=["features", "json", "delimiter", "no header", "only datasets knows"],
)
def test_a_card_changes_no_text_into_a_missing_one(tmp_path, files):
    assert rows(folder(tmp_path, **files), tmp_path) == {"text": TEXTS, "label": LABELS}


@pytest.mark.parametrize("labels", [["0", "1", "1", "0", "1"], ["neg", "pos", "pos", "neg", "pos"]])
def test_classes_of_a_card(tmp_path, labels):
    hub = folder(
        tmp_path,
        train_csv=table(labels=labels),
        test_csv=table(labels=["-1"] * 5),
        README_md=card(dataset_info=features(CLASSES)),
    )
    loaded = hub.load(tmp_path / "cache")
    assert loaded.splits["train"].dataset[:] == {"text": TEXTS, "label": ["neg", "pos", "pos", "neg", "pos"]}
    assert (list(loaded.splits), len(loaded.notes)) == (["train"], 1)
    (tmp_path / "train.csv").write_text("text,label\na,7\n")
    with pytest.raises(DataError, match=r"train\.csv: the label '7' is none of the card's: neg, pos"):
        hub.load(tmp_path / "cache")


def test_files_that_a_user_takes_for_others(tmp_path):
    hub = folder(tmp_path, **{f"{name}_csv": table() for name in ("Train", "Val", "Test")}, more_jsonl="")
    first, second = hub.load(tmp_path / "cache").notes
    assert "Test.csv, Val.csv are read as train; splits are recognized by names such as" in first
    assert second.endswith("not read: more.jsonl")


def test_files_of_one_split_with_other_columns(tmp_path):
    hub = folder(tmp_path, **{"train-1_csv": table(), "train-2_csv": "text,n\na,1\n"})
    with pytest.raises(
        DataError, match=r"train-2\.csv: no column 'label', which train-1\.csv of the same split has; .*'n'"
    ):
        hub.load(tmp_path / "cache")


def test_a_data_set_of_the_hub_in_the_cache_of_datasets(tmp_path, monkeypatch):
    """Without network: a csv data set is found as it was loaded, and one of another format as well."""
    asked = []

    def load(**given):
        asked.append(given)
        if "keep_default_na" in given:
            raise ValueError("Couldn't find cache for owner/name for config 'default-keep_default_na=False'")
        return datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": ["a"], "label": ["x"]}))

    class Cached:
        pass

    Cached.__module__ = "datasets.packaged_modules.cache.cache"
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda **given: Cached())
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert rows(Hub("owner/name"), tmp_path) == {"text": ["a"], "label": ["x"]}
    assert [given.get("keep_default_na") for given in asked] == [False, None]


def test_a_saved_data_set_without_rows(tmp_path):
    datasets.Dataset.from_dict({"text": [], "label": []}).save_to_disk(tmp_path / "d")
    with pytest.raises(DataError, match="there are no rows"):
        Hub(str(tmp_path / "d")).load(tmp_path / "cache")
