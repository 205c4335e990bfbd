"""Recipes, and how they are carried out.

recipe.py     the named ways to quantize
settings.py   what the command line chose
pipeline.py   export, calibrate, quantize: each stage once, cached
tflite.py     the TFLite toolchain (runs in the worker)
worker.py     a process of its own for what may crash, hang or eat memory
cache.py      artifacts on disk, addressed by what they were made of
"""
