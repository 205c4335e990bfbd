"""Where a quantized network loses its accuracy, layer by layer, by measurement.

sensitivity.py  `measure`: each layer quantized alone and kept wide alone, as far as a budget goes
layer_runs.py   what of that runs in the worker process
ranking.py      `rank`: the order of layers by their noise, with few samples
chain.py        a network in segments over samples: of a variant only what lies behind its layer
"""
