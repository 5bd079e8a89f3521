"""The resources that handlers are given: each is opened once a process, and closed at its end."""
