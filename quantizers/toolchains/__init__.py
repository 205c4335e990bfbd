"""The ways to quantized files, a folder each; `toolchain.py` says what one has to have."""
