"""EDSR: residual super-resolution, colour in and out."""
