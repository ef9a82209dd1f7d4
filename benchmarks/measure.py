"""Comparisons that hold on a noisy machine: sides in turn, the ratio of each round, medians."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bert_ft.training.environment import package_versions

Side = Callable[[int], float]


def alternate(sides: Mapping[str, Side], rounds: int) -> dict[str, list[float]]:
    """What each side gave in each round: ``side(round)``, one after the other, every second round backwards."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(rounds):
        names = list(sides) if index % 2 == 0 else list(reversed(sides))
        for name in names:
            figures[name].append(sides[name](index))
            print(f"round {index + 1}/{rounds}  {name:<40} {figures[name][-1]:>12,.1f}", flush=True)
    return figures


def ratios(figures: Mapping[str, list[float]], ours: str) -> dict[str, float]:
    """The median over rounds of ours / theirs, for each other side."""
    return {
        name: round(median(a / b for a, b in zip(figures[ours], values, strict=True)), 3)
        for name, values in figures.items()
        if name != ours
    }


def medians(figures: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: round(median(values), 2) for name, values in figures.items()}


def environment() -> dict[str, Any]:
    """What a figure depends on beside the code."""
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": package_versions(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def record(script: str, name: str, content: Mapping[str, Any]) -> None:
    """Write ``content`` under ``name`` into the json file beside ``script``, and print it."""
    path = Path(script).with_suffix(".json")
    measured = json.loads(path.read_text()) if path.exists() else {}
    measured[name] = {**content, "environment": environment()}
    path.write_text(json.dumps(measured, indent=2) + "\n")
    print(json.dumps({name: content}, indent=2), flush=True)
