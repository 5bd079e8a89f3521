"""The simulated world, in parts. `autoscaler/simulate.py` is the entrance."""
