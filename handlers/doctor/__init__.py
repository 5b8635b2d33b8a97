"""Checks of an installation: each is one line with its state, and servers run some at their start.

A check is a function. It returns a `Finding`, or raises the `MusicGenError` of a fault.
"""
