"""Hyper-parameter search: Hydra's Optuna sweeper with free-running workers, pruning and resumption.

``search.py`` puts four rooms together: ``space`` (what is searched), ``study`` (its database and its queue of trials), ``trials``
(running them) and ``results`` (what they show). ``trials`` builds on ``study``, which builds on ``space``; ``results`` knows a
study only by what is in the database.
"""
