"""Worker processes, the artifact cache, the identity of code, atomic files, what is installed.

    worker.py         runs a task in a process of its own (worker_process.py, worker_child.py)
    errors.py         what it raises of a task that did not return
    memory.py         limits of memory and recursion for what reads model files
    cache.py          artifacts on disk, addressed by what they were made of (cache_entry.py)
    code_identity.py  which code a result depends on
    atomic_file.py    files that are written whole or not at all
    file_digest.py    the digest of a file's content
    schema.py         files of a declared form, by pydantic
    plugins.py        modules of a user's own, ``module:name``
    extras.py         which extra of int8gate brings which package

The ground floor: it knows nothing of models.
"""
