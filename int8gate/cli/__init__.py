"""The console script `int8gate`: `app.py`, and a file for each larger command."""
