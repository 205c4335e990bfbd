"""pytest's side of int8gate stands in a plugin, so that it also serves other repositories."""

pytest_plugins = ["int8gate.plugin"]
