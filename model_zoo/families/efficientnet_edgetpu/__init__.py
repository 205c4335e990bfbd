"""EfficientNet-EdgeTPU: fused MBConv without squeeze-and-excitation."""
