"""A user's own launcher."""

from hydra._internal.core_plugins.basic_launcher import BasicLauncher


class OwnLauncher(BasicLauncher):
    def launch(self, job_overrides, initial_job_idx):
        print(f"batch of {len(job_overrides)}")
        return super().launch(job_overrides, initial_job_idx)
