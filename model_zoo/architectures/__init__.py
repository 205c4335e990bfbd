"""Networks that no library ships, and what a library's network needs around it."""
