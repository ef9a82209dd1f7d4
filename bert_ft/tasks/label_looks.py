"""Labels that don't look like one class per row from a short list, and the task for them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

MANY_CLASSES = 0.5  # classes for each training row
LEAST_VALIDATION_ROWS = 10
_SHOWN = 5
_LISTED = 20  # names in a message
_SEPARATORS = (";", "|", ",", "/")
_RARE = 0.1  # share of the rows
_RARE_TO_MAJORITY = 0.2
_MANY_NUMBERS = 10  # different ones, from which on they aren't taken for classes if ...
_ROWS_OF_A_NUMBER = 4  # ... each has fewer rows than this, on the average ...
_ROWS_OF_A_DECIMAL = 10  # ... or, with decimals, than this
_MANY_DECIMALS = 20  # different ones that aren't taken for classes, with any number of rows
_WHOLE_NUMBERS = 5  # classes that are whole numbers, from which on they may be counts or grades

ACCEPT = "task.accept=true takes each of them as a class"
SCORES = "task=regression (numbers), or task=ordinal 'task.order=[…]' (grades, from the lowest)"

Counts = Mapping[str, int | float]


def refused_look(counts: Counts) -> str | None:
    """Return why labels (name → number of rows) aren't taken for classes, with the task to type; ``None`` if they may be."""
    names, total = list(counts), sum(counts.values())
    numbers = _numbers(names)
    if numbers is not None and len(numbers) >= _MANY_NUMBERS:
        are_whole = all(value.is_integer() for value in numbers)
        needed = (_ROWS_OF_A_NUMBER if are_whole else _ROWS_OF_A_DECIMAL) * len(numbers)
        if total < needed or (not are_whole and len(numbers) >= _MANY_DECIMALS):
            return (
                f"the labels are {len(numbers)} different {'whole numbers' if are_whole else 'decimals'} in {total:,} rows, which "
                f"look like scores rather than classes; type {SCORES}; {ACCEPT}"
            )
    listed = [name for name in names if name[0] == "[" and name[-1] == "]"]
    if 2 * len(listed) > len(names):
        return f"labels such as {listed[0]} are lists of labels; type task=multi_label; {ACCEPT}"
    return None


def look_of(names: Sequence[str]) -> str | None:
    """Return a sentence on what the labels look like, without their source; ``None`` for plain names."""
    numbers = _numbers(names)
    if numbers is not None:
        low, high = (f"{value:g}" for value in (min(numbers), max(numbers)))
        if any("." in name or "e" in name.lower() for name in names) and len(names) > 2:
            return (
                f"the labels are {len(names)} different decimals from {low} to {high}, which look like scores; here each "
                f"of them is a class of its own. For scores type {SCORES}"
            )
        if len(names) >= _WHOLE_NUMBERS:
            return (
                f"the labels are {len(names)} whole numbers from {low} to {high}: each is a class of its own here, without "
                f"order. For grades or counts type {SCORES}"
            )
    several = _joined(names)
    if several is not None:
        return (
            f"labels such as {several!r} look like several labels for one row; here each combination is a class of its own; "
            "task=multi_label takes them apart"
        )
    return None


def listed(names: Sequence[str]) -> str:
    """Return known labels for a message; of many, the first."""
    if len(names) <= _LISTED:
        return ", ".join(names)
    look = look_of(names)
    also = f"; {look}" if look else ". Is that the label (data.label_column)?"
    return f"{', '.join(names[:_LISTED])} and {len(names) - _LISTED} more{also}"


def label_warnings(
    counts: Mapping[str, Counts], set_aside: Collection[str], *, accept: bool = False
) -> Iterator[str]:
    """Yield what may spoil training or its score: counts by split, then by class.

    Args:
        counts: split → class → rows; ``train`` is among them.
        set_aside: splits that were cut from the training rows.
        accept: whether classes are meant, whatever they look like.
    """
    train = counts["train"]
    total = sum(train.values())
    if len(train) >= _WHOLE_NUMBERS and len(train) > MANY_CLASSES * total:
        yield (
            f"{len(train):,} classes for {total:,} rows: is that the label? Set data.label_column to the column that has it"
        )
    if not accept and (look := look_of(list(train))) is not None:
        yield look
    yield from alike(train)
    yield from _rare(train, total)
    if "validation" in counts:
        yield from few_rows(counts, "validation" in set_aside)


def _numbers(names: Sequence[str]) -> list[float] | None:
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _joined(names: Sequence[str]) -> str | None:
    """Return a label of parts joined by a separator, if most such labels share their parts with others."""
    for separator in _SEPARATORS:
        divided = {name: [part.strip(" '\"[]") for part in name.split(separator)] for name in names}
        joined = [name for name, parts in divided.items() if len(parts) > 1 and all(parts)]
        used = Counter(chain.from_iterable(divided.values()))
        again = [name for name in joined if all(used[part] > 1 for part in divided[name])]
        if again and 2 * len(again) >= len(joined):
            return again[0]
    return None


def alike(train: Counts) -> Iterator[str]:
    """Yield a warning for each group of labels that differ by case or white space only."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in train:
        groups["".join(name.casefold().split())].append(name)
    for names in [group for group in groups.values() if len(group) > 1][:_SHOWN]:
        listed = ", ".join(f"{name!r} ({train[name]:,} rows)" for name in names)
        yield f"labels that differ only in case or white space are different classes: {listed}; spell them the same way"


def _rare(train: Counts, total: float) -> Iterator[str]:
    majority = max(train, key=lambda name: train[name])
    rare = [
        name
        for name, count in train.items()
        if count and count <= _RARE * total and count <= _RARE_TO_MAJORITY * train[majority]
    ]
    if rare:
        listed = ", ".join(f"{name!r} {train[name] / total:.1%}" for name in rare[:_SHOWN])
        yield (
            f"rare classes: {listed}{_more(rare)} of the training rows; always predicting {majority!r} is right for "
            f"{train[majority] / total:.1%}: loss.class_weights=balanced objective.metric=val/f1_macro"
        )


def few_rows(counts: Mapping[str, Counts], is_set_aside: bool) -> Iterator[str]:
    """Yield a warning for labels that have few validation rows."""
    few = [name for name, count in counts["validation"].items() if 0 < count < LEAST_VALIDATION_ROWS]
    if not few:
        return
    listed = ", ".join(f"{name!r} {counts['validation'][name]}" for name in few[:_SHOWN])
    said = f"classes with fewer than {LEAST_VALIDATION_ROWS} validation rows: {listed}{_more(few)}; their score is uncertain"
    fewest = min(sum(each[name] for each in counts.values()) for name in few)
    ratio = math.ceil(20 * LEAST_VALIDATION_ROWS / fewest) / 20
    if is_set_aside and ratio <= 0.4:
        yield f"{said}: data.validation_ratio={ratio:g}"
    else:
        yield f"{said}; more rows of these classes would help"


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
