"""The resources that handlers are given: one file each. Each is opened once a process, and closed at its end."""
