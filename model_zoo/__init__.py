"""The zoo: what each model is, how its network is built, and its weights.

    spec.py            `ModelSpec`, the declaration
    classification.py, segmentation.py, and so on   the declarations, a file per task
    registry.py        the zoo by name
    networks.py        from a declaration to a Keras model; torch_networks.py: to a PyTorch one
    families/          networks that no library ships
    importers/         networks that arrive as files of other frameworks
    user_models/       models of a team's own
    weights.py         weights files, and the manifest of those in weights/
    training/          how the compact weights were made

Nothing is imported here: TensorFlow loads where a network is built.
"""
