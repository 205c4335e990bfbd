"""Recipes, and how they are carried out.

recipe.py     the named ways to quantize; recipe_type.py: what such a way is
layer.py      what can be quantized by itself; segmented.py: networks of which that is done
settings.py   what the command line chose
pipeline.py   from a declaration to an artifact: each step once, cached (steps.py)
sources.py    how a model's file comes to its network; network_export.py: Keras and TensorFlow
stage.py      `Stage`, a function in the worker process, and what runs it
stages.py     the stages that no toolchain changes; sample_stages.py: those that write samples
toolchains/   a folder for each way to quantized files
calibration/  statistics of each tensor, and the ranges made of them
remedies/     what changes a float artifact before it is quantized; exposed.py: the activations of
              a float or quantized file by name
ranged.py     what the toolchains share of it: statistics to a file, and ranges from it
data_sets.py  the data sets of a run
auditing.py   the audit of calibration pictures; activation_audit.py: of activations
diagnosis.py  what converters say, and what it means (diagnoses.toml)
"""
