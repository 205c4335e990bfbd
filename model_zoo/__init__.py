"""The zoo: what each model is, how its network is built, and its weights.

    spec.py            `ModelSpec`, the declaration
    classification.py, segmentation.py   the declarations, a file per task
    registry.py        the zoo by name
    networks.py        from a declaration to a Keras model
    architectures/     networks that no library ships
    weights.py         weights files, and the manifest of those in weights/
    training.py        how the compact weights were made

Nothing is imported here: TensorFlow loads where a network is built.
"""
