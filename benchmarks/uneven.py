"""A task that rests for as long as a search draws: trials of uneven lengths, each noting when it worked."""

import json
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

TIMES = "times.json"


@hydra.main(config_path="uneven_conf", config_name="config")
def rest(config: DictConfig) -> float:
    began = time.time()
    time.sleep(config.seconds)
    folder = Path(HydraConfig.get().runtime.output_dir)
    (folder / TIMES).write_text(json.dumps([began, time.time()]))
    return float(config.seconds)


if __name__ == "__main__":
    rest()
