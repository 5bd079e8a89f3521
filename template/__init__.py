"""A project of your own, made from this one: everything under another name. The standard library and git are all that it needs."""
