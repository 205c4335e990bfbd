"""Draws the compact zoo's data: scenes of digits, people, helmets and faces on natural pictures."""
