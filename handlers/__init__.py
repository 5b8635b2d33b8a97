"""A platform's payload to a `GenerationRequest`, and a result back, on a predictor it is given."""
