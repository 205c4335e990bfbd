"""Runs beside each other: baselines, histories, limits on what may get worse."""
