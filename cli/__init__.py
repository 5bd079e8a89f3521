"""The command line: `headrace up | demo | submit | status | dead | check`."""
