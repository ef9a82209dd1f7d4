"""Training and searching from Python: what ``bert_ft`` exports besides models, modules and callbacks."""
