"""Against a real API server; skipped where there is none."""
