"""The decoder's step in C++, for x86-64 processors, where a compiler was found at installation."""
