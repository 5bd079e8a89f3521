"""Adapters: one file for each server that fills a port. `choose.py` picks by URL; nothing else imports them."""
