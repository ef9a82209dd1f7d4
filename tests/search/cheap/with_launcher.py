"""``task.py`` with a user's own launcher."""

import runpy
from pathlib import Path

from hydra.core.plugins import Plugins
from own_launcher import OwnLauncher

if __name__ == "__main__":
    Plugins.instance().register(OwnLauncher)
    runpy.run_path(str(Path(__file__).with_name("task.py")), run_name="__main__")
