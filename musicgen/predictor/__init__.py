"""Predictor: requests in, stored clips out. Imports torch."""

from musicgen.predictor.predictor import Predictor

__all__ = ["Predictor"]
