"""SSD on MobileNet v1, as a TF1 frozen graph with its loops."""
