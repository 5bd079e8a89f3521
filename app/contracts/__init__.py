"""Your job types: one file each, with a module-level `Contract`. Nothing else has to know of a new one."""
