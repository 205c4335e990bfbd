"""The networks that no library has, a folder for each: network, decoding, training, graph."""
