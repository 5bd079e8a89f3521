"""A project of your own, made from this one: everything under another name. Git does the rest."""
