"""Runs beside each other: baselines, histories, limits on what may get worse.

baseline.py       accepted results; their TOML: baseline_file.py, baseline_form.py,
                  baseline_tables.py
history.py        runs of the past, and what changed from one to another
changes.py        two sets of figures compared; change_words.py: a change in words
paired.py         how much a metric changed, in pairs of samples
sample_scores.py  what each sample scored, kept for that
limits.py         how much worse a figure may get
"""
