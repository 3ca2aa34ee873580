"""Tests of what decides in `tests.chaos`: the script, the model, the comparison of views, the report, the shrinker."""
