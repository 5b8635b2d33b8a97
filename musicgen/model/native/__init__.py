"""The decode step in C++ for x86-64 and 64-bit Arm, if a compiler was there at installation."""
