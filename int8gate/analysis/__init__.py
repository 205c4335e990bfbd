"""What to do about a case: which widths its layers take, which recipe wins, and whether it holds.

    mix_table.py       loss and cost of each layer at each width, and of the boundaries between them
    search.py          the cheapest mix within a loss bound: one signature, four methods
    local_search.py    greedy and evolutionary; exact_search.py: dynamic and integer programming
    confirm.py         the winner of a search, judged on samples that the search never saw
    full_accuracy.py   which answers changed: McNemar, classes, calibration, flipped samples
    methods.py         all recipes of a model that were run, ranked, with the one to take
    method_points.py   one of them as its run found it; method_ranks.py: told apart, and preferred
    pareto.py          which points no other beats in cost and gain

Nothing is imported here.
"""
