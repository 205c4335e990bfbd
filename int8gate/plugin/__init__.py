"""pytest's side alone: options, parametrization, fixtures, the gates as tests, their records.

options.py     the options and their checks: all that is loaded where nobody asks for a gate
requested.py   whether and which gates a run asks for; arguments.py: the words of its command
hooks.py       pytest's hooks, where it does; fixtures.py: the fixtures of the gates
gates.py       the gates as tests, a function each; collecting.py puts them under their file
gating.py      what such a test does: measures, records, ends as the result asks
models.py      which models a run has; cases.py: which cases; selecting.py: which gates
xfails.py      gates that are declared not to hold
recording.py   the case records, from what each gate hands over
comparing.py   the run against a baseline and earlier runs; predictions.py: by sample
publishing.py  what leaves the run
progress.py    a line for a long stage; hints.py: the command that a failure names
grouping.py    `-n`; workarounds.py: what pytest has no public hook for
"""
