"""The shared language of Headrace: what a job is, how it travels, and the ports that adapters fill. No I/O here."""
