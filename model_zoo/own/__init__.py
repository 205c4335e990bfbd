"""Models of a team's own, declared in TOML: a file, its task, its data.

declaration.py   `OwnModel`: what a table of the TOML says
toml_file.py     reads and checks the TOML
inspection.py    what a model file takes and gives
resolve.py       both together: a `ModelSpec` for the pipeline
template.py      the TOML that `int8gate init` begins with
"""
