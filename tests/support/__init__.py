"""What several test folders share: toy checkpoints and transformers as the oracle."""
