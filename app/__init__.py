"""Yours: job types in contracts/, handlers in handlers/, what handlers are given in resources/, their settings in settings.py.

What is here now is an example. Nothing else of the project knows of it.
"""
