"""Files in QDQ form, as quantization-aware training leaves them: stripping.py first.

stripping.py          a QDQ file to its float network, and the scales that it came with
pair_parameters.py    the scales and zero points of a pair
scale_passing.py      scales on the other side of what only moves values
weight_grids.py       weights whose pair a tool computed away
folded_quotients.py   the division behind PyTorch's unconverted convolutions
openvino_pairs.py     OpenVINO's FakeQuantize as pairs
qdq_scales.py         what the pairs said, and its file
fake_quantization.py  what the pairs computed, in float operators
"""
