"""Run trials, in processes or through a launcher, and report their values to the study."""
