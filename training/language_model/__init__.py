"""The text encoder and the decoder of the demo, trained on the codes of `training.codec`."""
