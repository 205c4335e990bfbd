"""Worker processes, the artifact cache, the identity of code, atomic files, what is installed.

The ground floor: it knows nothing of models.
"""
