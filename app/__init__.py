"""Yours: job types in contracts/, handlers in handlers/, what handlers are given in resources/, their settings in settings.py.

The files here now are an example. Nothing else of the project knows of them.
"""
