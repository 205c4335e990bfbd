"""The vision transformer of `transformers`."""
