"""The laboratory: a simulated plant of arrivals and replicas, our policy and its rivals on it, and their scores. No program in
production imports it; the command line does. `simulate.py` is the entrance.
"""
