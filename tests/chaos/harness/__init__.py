"""Real programs on real servers, under a steady load, with one fault at a time; then a judgement of what became of every job.

`system.py` starts the programs, `proxy.py` stands between a program and a server, `load.py` submits as a real client does,
`faults.py` does harm and undoes it, `judge.py` counts.
"""
