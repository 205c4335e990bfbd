"""FSRCNN: super-resolution on luminance, with and without the skip around it."""
