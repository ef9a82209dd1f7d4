"""How good a model is, and how sure that is: functions of truth and scores, without torch and Lightning."""
