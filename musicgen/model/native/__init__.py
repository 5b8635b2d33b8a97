"""The decode step in C++ for x86-64 CPUs, if a compiler was present at installation."""
