"""Rules of advice on the course of training: losses, gradients, activations, lengths and checkpoints."""

from __future__ import annotations

import math
import re

import numpy as np

from bert_ft import layout
from bert_ft.reporting.advice_facts import Advice, finite, key, lower_lr, training_loss, with_value
from bert_ft.reporting.objective import objective_of
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.scalars import smoothed
from bert_ft.standard_error import standard_error

JUMP = 0.5  # of the loss that training had gained, lost again
LEAST_READINGS = 10
DEAD = 0.99  # share of values near zero
CUT = 0.1  # share of all tokens
LAST_PART = 0.2  # of the steps
FALL = 0.1  # of the training loss, from one part to the next
RISE = 0.1  # of the validation loss
LEAST_RISE = 0.02  # nats
CLIPPED = 0.7
LEAST_STEPS = 200  # at the start of any run most steps are clipped
LONGEST_ADVISED = 512  # tokens


def unstable(run: RunLog) -> Advice | None:
    """Find a training loss that jumped back, or gradients that weren't finite."""
    nonfinite = run.scalars.get(f"{layout.GRADIENTS}nonfinite_steps")
    is_scaled = (run.metrics or {}).get("precision", {}).get(
        "effective"
    ) == "16-mixed"  # it looks for its scale
    if nonfinite is not None and nonfinite.values[-1] > 0 and not is_scaled:
        evidence = f"{nonfinite.values[-1]:.0f} steps had gradients that are not finite"
    elif (jump := _jump(run)) is not None:
        low, low_step, high, high_step = jump
        evidence = (
            f"The training loss jumped from {low:.3g} at step {low_step} to {high:.3g} at step {high_step}"
        )
    else:
        return None
    name = key(run, "optimizer.lr")
    return Advice(f"{evidence}: {name} is at the edge of what is stable here; {lower_lr(run)}.", (name,))


def _jump(run: RunLog) -> tuple[float, int, float, int] | None:
    """Return the lowest smoothed loss before the largest rise, and the highest after it, each with its step."""
    series = training_loss(run)
    if series is None or len(series.values) < LEAST_READINGS:
        return None
    values = smoothed(series.values, 5)
    lowest = np.minimum.accumulate(values)
    start = values[:3].mean()
    rise = values - lowest
    peak = int(np.nanargmax(rise))
    gained = start - lowest[peak]
    if gained < 0.2 * start or rise[peak] < JUMP * gained:
        return None
    low = int(np.nanargmin(values[: peak + 1]))
    return float(values[low]), int(series.steps[low]), float(values[peak]), int(series.steps[peak])


def dead_layer(run: RunLog) -> Advice | None:
    """Find an activation whose values were near zero at all readings from some step on."""
    pattern = re.compile(f"{layout.ACTIVATIONS}((?:layer|head)\\..*)/near_zero")
    found = {}
    for tag, series in run.scalars.items():
        # a linear layer may start at zero
        if (match := pattern.fullmatch(tag)) and match[1].endswith(("activation", "hidden")):
            alive = np.flatnonzero(~(series.values > DEAD))
            since = 0 if not len(alive) else int(alive[-1]) + 1
            if since < len(series.values):
                found[match[1]] = (int(series.steps[since]), float(series.values[-1]))
    if not found:
        return None
    name, (step, ratio) = min(found.items(), key=lambda entry: entry[1][0])
    more = f" ({len(found) - 1} more died later)" if len(found) > 1 else ""
    return Advice(
        f"{name} is dead since step {step}{more}: {ratio:.0%} of its values are near zero, so it passes nothing on; "
        f"{lower_lr(run)}.",
        (key(run, "optimizer.lr"),),
    )


def texts_cut(run: RunLog) -> Advice | None:
    """Find texts that lose much to the length limit."""
    report = run.data_report or {}
    train = (report.get("splits") or {}).get("train", {})
    if train.get("lost_ratio", 0) < CUT:
        return None
    length, p95 = report.get("max_length", 0), train["lengths"]["p95"]
    longer = min(32 * math.ceil(p95 / 32), LONGEST_ADVISED)
    remedy = (
        f"raise data.max_length, e.g. to {longer}"
        + (", which 95% of the texts fit into" if longer >= p95 else "")
        if longer > length
        else "data.truncation_side=left keeps their ends instead"
    )
    return Advice(
        f"{train['truncated_ratio']:.1%} of the training texts are cut to data.max_length={length}, which loses "
        f"{train['lost_ratio']:.0%} of their tokens: {remedy}.",
        ("data.max_length",) if longer > length else ("data.truncation_side",),
    )


def still_falling(run: RunLog) -> Advice | None:
    """Find a training loss that was falling when the steps ran out, with a validation loss that was at its lowest."""
    stopped, series = (run.metrics or {}).get("stopped", ""), training_loss(run)
    if series is None or len(series.values) < LEAST_READINGS or stopped.startswith("no better"):
        return None
    validation = run.scalars.get(layout.VAL_LOSS)
    if validation is not None and len(validation.values) > 1:
        before = np.nanmin(validation.values[:-1]) if np.isfinite(validation.values[:-1]).any() else np.inf
        if not validation.values[-1] < before * (1 - FALL / 5):
            return None
    end, length = series.steps[-1], LAST_PART * series.steps[-1]
    last = series.values[series.steps > end - length]
    earlier = series.values[(series.steps > end - 2 * length) & (series.steps <= end - length)]
    if min(len(last), len(earlier)) < 2:
        return None
    fall = earlier.mean() - last.mean()
    chance = math.hypot(*(part.std(ddof=1) / math.sqrt(len(part)) for part in (last, earlier)))
    if fall < FALL * earlier.mean() or fall < 2 * chance:
        return None
    name, remedy = _longer(run, stopped)
    lowest = ", and the validation loss was at its lowest" if validation is not None else ""
    return Advice(
        f"The training loss was still falling at the last step, by {fall / earlier.mean():.0%} over the last fifth of "
        f"the steps{lowest}: train longer, e.g. {remedy}.",
        (name,),
    )


def _longer(run: RunLog, stopped: str) -> tuple[str, str]:
    """Return the key that set the length of a run, and an override for twice as much."""
    if "max_time" in stopped:
        return key(run, "trainer.max_time"), f"with a larger {with_value(run, 'trainer.max_time')}"
    for name in ("trainer.max_epochs", "trainer.max_steps", "trainer.min_train_steps"):
        value = run.setting(key(run, name))
        if isinstance(value, int) and value > 0:
            done = run.last_step if name == "trainer.min_train_steps" else value
            return key(run, name), f"{key(run, name)}={2 * done}"
    return key(run, "trainer.max_epochs"), f"with {key(run, 'trainer.max_epochs')}"


def overconfident(run: RunLog) -> Advice | None:
    """Find a validation loss that rose to the kept step while the objective didn't fall."""
    tag, mode = objective_of(run)
    if (
        tag in (None, layout.VAL_LOSS)
        or mode != "max"
        or tag not in run.scalars
        or layout.VAL_LOSS not in run.scalars
    ):
        return None
    losses, scores = finite(run.scalars[layout.VAL_LOSS]), run.scalars[tag]
    kept = run.kept_step
    if kept is None or kept not in losses.steps or kept not in scores.steps:
        return None
    low = int(np.nanargmin(losses.values))
    step = int(losses.steps[low])
    lowest, loss = float(losses.values[low]), float(losses.values[losses.steps == kept][0])
    if step >= kept or loss < lowest * (1 + RISE) or loss - lowest < LEAST_RISE:
        return None
    score, before = (float(scores.values[scores.steps == each][0]) for each in (kept, step))
    if score < before - _standard_error(run, before, tag):
        return None
    return Advice(
        f"Validation loss rose from {lowest:.3f} at step {step} to {loss:.3f} at step {kept} while {tag} went from {before:.3f} to "
        f"{score:.3f}: wrong answers became more confident; if you use the probabilities, objective.metric=val/loss "
        f"objective.mode=min keeps the weights of about step {step}.",
        ("objective.metric", "objective.mode"),
    )


def clipped(run: RunLog) -> Advice | None:
    """Find clipping in most steps, up to the end."""
    ratio, limit = (
        run.scalars.get(f"{layout.GRADIENTS}clipped_ratio"),
        run.setting(key(run, "trainer.gradient_clip_val")),
    )
    if (
        ratio is None
        or not limit
        or len(ratio.values) < 4
        or ratio.values[-1] < CLIPPED
        or ratio.steps[-1] < LEAST_STEPS
    ):
        return None
    half = len(ratio.values) // 2
    steps, counts = ratio.steps, ratio.values * ratio.steps
    later = (counts[-1] - counts[half]) / max(1, steps[-1] - steps[half])
    norms = run.scalars.get(layout.GRAD_NORM)
    if later < CLIPPED or norms is None:
        return None
    median = float(np.nanmedian(norms.values))
    return Advice(
        f"{ratio.values[-1]:.0%} of the steps were clipped to {with_value(run, 'trainer.gradient_clip_val')} (the median "
        f"gradient norm was {median:.2g}), so that batches with larger gradients counted no more than others: raise it above "
        f"{median:.2g} if it is meant for outliers only.",
        (key(run, "trainer.gradient_clip_val"),),
    )


def within_one_standard_error(run: RunLog) -> Advice | None:
    """Find kept weights that aren't the best ones, since they can't be told apart."""
    tag, mode = objective_of(run)
    if mode != "max" or tag not in run.scalars or run.kept_step is None:
        return None
    series = finite(run.scalars[tag])
    kept = np.flatnonzero(series.steps == run.kept_step)
    if not len(kept):
        return None
    best = int(np.nanargmax(series.values))
    value, highest = float(series.values[kept[0]]), float(series.values[best])
    error = _standard_error(run, highest, tag)
    if not error or not highest - error <= value < highest:
        return None
    below = np.flatnonzero(series.values[: kept[0]] < highest - error)
    since = int(series.steps[below[-1] + 1 if len(below) else 0])
    until = "on" if kept[0] == len(series.steps) - 1 else f"to step {run.kept_step}"
    return Advice(
        f"{tag} was within one standard error ({error:.3f}) of its best from step {since} {until}, so the latest of these weights (step "
        f"{run.kept_step}, {value:.3f}) were kept instead of the best (step {series.steps[best]}, {highest:.3f}), whose lead may "
        "be luck; callbacks.best_checkpoint.standard_errors=0 keeps the best.",
        ("callbacks.best_checkpoint.standard_errors",),
    )


def _standard_error(run: RunLog, value: float, tag: str) -> float:
    rows = ((run.metrics or {}).get("rows") or {}).get("validation", 0)
    return standard_error(value, rows, tag)
