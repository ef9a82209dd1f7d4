"""A task of another user's, without torch: a sphere, in a fraction of a second."""

import os
import signal
import sys
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


@hydra.main(config_path=".", config_name="config")
def sphere(config: DictConfig) -> float | tuple[float, float]:
    folder = Path(HydraConfig.get().runtime.output_dir)
    with (folder / "began").open("x") as file:  # a second trial in the same folder would fail
        file.write(str(os.getpid()))
    time.sleep(config.seconds)
    if config.fails == "error":
        raise RuntimeError("config.fails is set")
    if config.fails == "exit":
        sys.exit(3)
    if config.fails == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if config.fails == "diverges":
        return float("nan")
    if config.two:
        return config.x**2 + config.y, (config.x - 2) ** 2 + config.y
    luck = 0.01 * config.get("seed", 0) * (1 + 0.1 * abs(config.x))
    return config.x**2 + config.y + luck


if __name__ == "__main__":
    sphere()
