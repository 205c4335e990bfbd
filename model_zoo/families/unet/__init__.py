"""U-Net with an input of dynamic shape."""
