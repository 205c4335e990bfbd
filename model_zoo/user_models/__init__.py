"""Models of a team's own, declared in TOML: a file, its task, its data.

declaration.py   `OwnModel`: what a table of the TOML says
toml_file.py     reads and checks the TOML
inspection.py    what a model file takes and gives; untrusted.py: in bounded memory, in one sentence
keras_file.py    a Keras model without its code; keras2_file.py: one that Keras 2 wrote
hdf5_file.py, saved_model.py: nothing elsewhere
resolve.py       both together: a `ModelSpec` for the pipeline; picture_checks.py, output_checks.py
decoding.py      outputs to what the task's metric takes; known_heads.py: `decode = "NAME"`
user_hooks.py    functions of the user's own
template.py      the TOML that `int8gate init` begins with; guesses.py: the task
"""
