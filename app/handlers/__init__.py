"""Your handlers: one file each. Nothing else has to know of a new one."""
