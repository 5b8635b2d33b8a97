"""TODO-FACE"""

from musicgen.predictor.predictor import Predictor

__all__ = ["Predictor"]
