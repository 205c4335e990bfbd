"""ResNet-50 of `transformers`."""
