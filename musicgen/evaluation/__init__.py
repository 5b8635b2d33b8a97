"""How well a model's music follows its prompts, measured on the sound. Nothing is imported here."""
