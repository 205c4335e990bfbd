"""Draws the compact zoo's data: scenes of digits, people, helmets and faces on natural pictures.

picture_sources.py   the real pictures and digits, and which split owns which
scenes.py            scenes of digits; detection_scenes.py: at many sizes, for detectors
figures.py           scenes of drawn people, their drawing in figure_drawing.py
single_figures.py    crops around one of them; helmets.py: people with and without helmets
faces.py             faces among cut-outs that are none
prompts.py           prompts for digits, with noise; what diffusion models are trained on
super_resolution.py  small and large pictures; colour_super_resolution.py: of RGB ones
"""
