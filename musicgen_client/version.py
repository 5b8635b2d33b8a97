"""Version of this package, equal to that of the project."""

VERSION = "0.1.0"
