"""Metrics, logs and traces. Every metric's name, unit and labels stand in `metrics.py`."""
