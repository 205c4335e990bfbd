"""The network cut out of a TF1 frozen graph with control flow: importer.py first.

importer.py         a `.pb` in, a network that any converter takes out
untrusted_graph.py  operators that a file could do harm with
graphs.py           tools over a `GraphDef`; operators.py: operators by their place in a network
graph_ends.py       where it begins and ends
simplify.py         simplified for inference, in steps that are proven (proof.py):
                    leftovers.py    what training leaves
                    functions.py    functions that are called, decided conditions
                    unroll.py       loops of few turns
control_flow.py     which nodes run in a loop or under a condition
cut.py              where the graph is cut; cut_network.py takes the network out
"""
