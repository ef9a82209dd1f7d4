"""Running trials: in processes, or through a launcher; and what a trial tells its study."""
