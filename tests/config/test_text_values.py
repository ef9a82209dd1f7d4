"""Texts on the command line arrive as the shell hands them over."""

import shlex

import hydra
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bert_ft.config.composition import judged
from bert_ft.config.paths import conf_dir
from bert_ft.config.rules import RULES
from bert_ft.config.text_values import text_override, with_quoted_texts
from bert_ft.errors import ConfigError
from tests import commands

PRINTABLE = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)


def composed(*words: str, name: str = "train"):
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        return hydra.compose(name, list(words), return_hydra_config=True)


def value_of(word: str):
    """What Hydra's own parser makes of a word, interpolations unresolved."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(word).value()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (value, value)
        for value in (
            "reviews.csv",
            "reviews (1).csv",
            "my reviews/[old] {2}.csv",
            "it's.csv",
            'the "best".csv',
            "été/文本.csv",
            "a=b.csv",
            "a,b.csv",
            "a:b.csv",
            "'a' and 'b'",
            "0",
            "007",
            "-1",
            "1e3",
            "1_000",
            "nan",
            "true",
            "No",
            "[a]",
            "[a, b]",
            "{a: b}",
            "choice(a,b)",
            "range(1,3)",
            "f(x)",
            "  padded ",
            "ends in \\",
            "C:\\texts\\a.csv",
            "\\\\server\\share",
            "a ${b",
            "",
        )
    ]
    + [
        ("null", None),
        ("'null'", "null"),
        ("'reviews (1).csv'", "reviews (1).csv"),
        ('"it\'s.csv"', "it's.csv"),
        (r"reviews\ \(1\).csv", "reviews (1).csv"),  # Hydra's escapes
        ("str(0)", "0"),
    ],
)
def test_values_of_one_run(value, text):
    [word] = with_quoted_texts([f"data.text_column={value}"])
    found = value_of(word)
    assert found == (text.replace("${", r"\${") if text else text)  # which OmegaConf reads as ${


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a,b", ["a", "b"]),
        ("0,1", ["0", "1"]),
        ("reviews (1).csv,été.csv", ["reviews (1).csv", "été.csv"]),
        ("'a,b',c", ["a,b", "c"]),
        ("choice(0,true,x)", ["0", "true", "x"]),
        ("choice(Rating (1),it's)", ["Rating (1)", "it's"]),
        ("reviews (1).csv", "reviews (1).csv"),
        ("null,0", [None, "0"]),
    ],
)
def test_values_of_a_sweep(value, texts):
    [word] = with_quoted_texts([f"data.text_column={value}"], sweep=True)
    found = value_of(word)
    if isinstance(texts, list):
        assert [value_of(f"key={'null' if each is None else each}") for each in _written(word)] == texts
    else:
        assert found == texts


def _written(word: str) -> list[str]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return list(OverridesParser.create().parse_override(word).sweep_string_iterator())


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("[a.*,b]", ["a.*", "b"]),
        ("[0,é (1)]", ["0", "é (1)"]),
        ("['a,b',c]", ["a,b", "c"]),
        ("[It's good,so-so]", ["It's good", "so-so"]),
        ("[]", []),
    ],
)
@pytest.mark.parametrize("key", ["monitor.attention.sentences", "data.label_column", "task.order"])
def test_lists_of_texts(key, value, texts):
    assert value_of(with_quoted_texts([f"{key}={value}"])[0]) == texts


def test_texts_of_a_task():
    words = ["task.delimiter=;", "task.delimiter=,", "task.positive=yes (1)", "task.order=[true,1.0]"]
    assert [value_of(word) for word in with_quoted_texts(words)] == [";", ",", "yes (1)", ["true", "1.0"]]


@pytest.mark.parametrize(
    "word", ["optimizer.lr=1e-3", "trainer.precision=16", "encoder=minilm", "~metrics", "--cfg"]
)
def test_other_words_are_left_alone(word):
    assert with_quoted_texts([word]) == [word]


def test_interpolations_are_resolved(monkeypatch):
    monkeypatch.setenv("FOLDER", "my texts")
    words = with_quoted_texts(["data=files", "data.train_file=${oc.env:FOLDER}/reviews (1).csv"])
    assert composed(*words).data.train_file == "my texts/reviews (1).csv"


@given(PRINTABLE, st.booleans())
def test_any_text_of_a_run_arrives(text, is_new):
    assume(text.lower() != "null" and "${" not in text and text != "???" and text[:1] not in ("'", '"'))
    assume(not text.startswith("str(") and "\\" not in text)
    [word] = with_quoted_texts([f"{'++' if is_new else ''}data.text_column={text}"])
    assert value_of(word) == text


@given(PRINTABLE, st.booleans())
def test_any_text_written_as_a_word_arrives(text, sweep):
    """What commands to paste are made of."""
    assume("${" not in text)
    [pasted] = shlex.split(shlex.quote(text_override("data.text_column", text, sweep=sweep)))
    [word] = with_quoted_texts([pasted], sweep=sweep)
    assert value_of(word) == text


TEXT_KEYS = sorted(key for key, rule in RULES.items() if rule.kind == "text" and not rule.choices)


@pytest.mark.parametrize("key", [*TEXT_KEYS, "hydra.run.dir", "hydra.sweep.dir", "hydra.sweeper.study_name"])
def test_every_key_that_is_a_text(key):
    text = "Été's [1] (2), a=b"
    assert value_of(with_quoted_texts([f"{key}={text}"])[0]) == text


def run(*words: str, cwd, module: str = "bert_ft.train"):
    return commands.run(module, *words, cwd=cwd)


@pytest.mark.slow
def test_commands_take_texts_as_they_are(tmp_path):
    (tmp_path / "été (1).csv").write_text("0,Rating (1-5)\n")
    words = [
        "data=files",
        "data.train_file=été (1).csv",
        "data.text_column=0",
        "data.label_column=Rating (1-5)",
    ]
    shown = run(*words, "hydra.run.dir=a=b (2)", "--cfg", "job", "--package", "data", cwd=tmp_path).stdout
    assert "train_file: été (1).csv" in shown
    assert "text_column: '0'" in shown
    assert "label_column: Rating (1-5)" in shown
    result = run("bundle=it's", "input=été (1).csv", "output=x=1.csv", cwd=tmp_path, module="bert_ft.predict")
    assert result.returncode == 2
    assert "bundle=it's" in result.stderr


def test_a_word_that_hydra_cannot_read_shows_the_line_that_works(tmp_path):
    result = run("data=files", "+data.mine=a (1).csv", cwd=tmp_path)
    assert result.returncode == 2
    shown = result.stderr.splitlines()
    example = shlex.quote("+data.mine='a (1).csv'")
    assert (
        f"  +data.mine=a (1).csv: Hydra's grammar can't parse it; quote a text for Hydra and for the shell, e.g. {example}"
        in shown
    )
    assert value_of(shlex.split(example)[0]) == "a (1).csv"


def test_null_as_a_choice_shows_the_word_that_works():
    with pytest.raises(ConfigError, match=r"choice\(\.\.\.\) takes no null; write optimizer\.lr=null,1e-3$"):
        judged("train", ["optimizer.lr=choice(null,1e-3)"])


def test_a_launcher_that_is_not_installed_names_its_extra():
    with pytest.raises(
        ConfigError, match=r"^hydra/launcher=ray_aws: isn't installed; pip install 'bert_ft\[ray\]'$"
    ):
        judged("train", ["hydra/launcher=ray_aws"])


def test_a_key_whose_word_is_refused_is_not_missing_too():
    with pytest.raises(
        ConfigError, match=r"^data\.train_file=a \(1\)\.csv: Hydra's grammar can't parse it; [^\n]*$"
    ):
        judged("train", ["data=files", "data.train_file=a (1).csv"])
