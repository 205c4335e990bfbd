"""The networks that no library has, and their decoding, training and graphs.

A family is a file, or a folder of network.py, decoding.py, training.py and the like where it has
more than its network. caffe_input.py, pretrained.py and tf1_control_flow.py are what several have
in common.
"""
