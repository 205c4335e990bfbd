"""What is wrong with a case that does not pass, layer by layer, and the cheapest way out.

sensitivity.py  `measure`: each layer quantized alone and kept wide alone, as far as a budget goes
layer_runs.py   what of that runs in the worker process
chain.py        a network in segments over samples: of a variant only what lies behind its layer
rungs.py        the recipes that may help, from the cheapest to the dearest
ladder.py       `rescue`: tries them one after another, each by the gates of its own
"""
