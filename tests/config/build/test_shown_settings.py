"""The settings that a run's line in TensorBoard's table of hyper-parameters has."""

import hydra
from hydra.core.hydra_config import HydraConfig

from bert_ft.config.build.fine_tuning import _settings
from bert_ft.config.paths import conf_dir


def test_a_trial_shows_what_its_overrides_set_and_a_group_by_its_choice(tmp_path):
    own = ["optimizer.lr=1e-4", "loss=focal", "debug=fast", "search=small"]
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        overrides = [
            "hydra/sweeper=optuna",
            "hydra.mode=MULTIRUN",
            f"hydra.runtime.output_dir={tmp_path}",
            *own,
        ]
        config = hydra.compose("train", overrides, return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        try:
            assert _settings(config) == {"optimizer/lr": 1e-4, "loss": "focal", "debug": "fast"}
        finally:
            HydraConfig.instance().cfg = None
