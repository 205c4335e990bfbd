"""DETR: detection by a transformer over a ResNet's features."""
