"""Multi-band diffusion: EnCodec's tokens to sound by several diffusion models."""
