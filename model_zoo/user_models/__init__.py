"""Models of a team's own, declared in TOML: a file, its task, its data.

declaration.py   `OwnModel`: what a table of the TOML says
toml_file.py     reads and checks the TOML; toml_form.py: its keys and what they take
inspection.py    what a model file takes and gives; untrusted.py: in bounded memory, in one
                 sentence
keras_file.py    a Keras model without its code; keras2_file.py: one that Keras 2 wrote
saved_model_file.py  a SavedModel of which nothing runs that could do harm
tflite_file.py   what the numbers of a `.tflite` file are
training_program.py  a PyTorch program in training mode, brought to inference
resolve.py       declaration and file: a `ModelSpec` for the pipeline; input_checks.py: inputs
decoding.py      outputs to what the task's metric takes; known_heads.py: `decode = "NAME"`
user_hooks.py    functions of the user's own
template.py      the TOML that `int8gate init` begins with; guesses.py: the task
"""
