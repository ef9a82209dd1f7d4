"""Lightning's part: data modules, training modules, and the stages of a run."""
