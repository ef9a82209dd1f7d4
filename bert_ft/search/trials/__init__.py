"""Running trials, in processes or through a launcher, and what a trial reports to its study."""
