"""What models are judged by: a file for each task, found by `registry.tasks`."""
