"""What is wrong with a case that does not pass, layer by layer, and the cheapest way out.

Layers:
sensitivity.py      `measure`: each layer quantized alone and kept wide alone, within a budget
ranking.py          the order of the layers, with as many samples as it needs
layer_runs.py       what of that runs in the worker process
chain.py            a network in segments over samples: of a variant only what lies behind its layer

attempts.py         a case with another recipe, its worst layers, its failures: for what follows

The ladder of remedies:
rungs.py            the recipes that may help, from the cheapest to the dearest
ladder.py           `rescue`: tries them one after another, each by the gates of its own
ladder_results.py   what was tried, which won, and how to declare it

Mixed widths:
mixing.py           `mix`: which layers get other widths, found by a search, then confirmed
mix_question.py     what it is asked, and the widths that target and toolchain have
mix_costs.py        what each layer costs in each, measured on the host or told by a target
mix_results.py      what was found
mix_table.py        loss and cost of each layer at each width, and of the boundaries between them
search.py           the cheapest mix within a loss bound: one signature, four methods
local_search.py     greedy and evolutionary
exact_search.py     dynamic and integer programming
search_budget.py    seconds and evaluations that a search has
confirm.py          the winner of a search, judged on samples that the search never saw

Recipes compared:
methods.py          all recipes of a model that were run, ranked, with the one to take
method_points.py    one of them as its run found it
method_ranks.py     told apart, and preferred
pareto.py           which points no other beats in cost and gain
full_accuracy.py    which answers changed: McNemar, classes, calibration, flipped samples

Nothing is imported here.
"""
