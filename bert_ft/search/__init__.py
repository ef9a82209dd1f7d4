"""Hyper-parameter search: Hydra's Optuna sweeper with free-running workers, pruning and resumption.

``search.py`` combines four folders: ``space`` (what is searched), ``study`` (database and trial queue), ``trials`` (running
trials) and ``results`` (page, pictures, tables). ``trials`` imports ``study``, which imports ``space``; ``results`` knows a
study only from its database.
"""
