"""Metrics of the tasks over whole splits; imported only where they are computed."""
