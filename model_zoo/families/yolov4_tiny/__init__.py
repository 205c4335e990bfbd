"""YOLOv4-tiny, as Darknet's .cfg and .weights."""
