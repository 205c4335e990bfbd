"""CenterNet (`ctdet`): heatmap, size and offset of objects."""
