"""Where an artifact is timed: a `Target` for each NPU, and the modelled ARM cores beside it."""
