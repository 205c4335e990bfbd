"""Cascaded pyramid network: keypoints of one person by GlobalNet and RefineNet."""
