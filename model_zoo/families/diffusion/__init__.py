"""Diffusion models of Hugging Face diffusers: a denoiser, its text encoders, its autoencoder.

parts.py             what both have in common: pictures, latents, steps of a scheduler
stable_diffusion.py  a U-Net that predicts noise, with classifier-free guidance
flux.py              a transformer that predicts a velocity, without guidance
"""
