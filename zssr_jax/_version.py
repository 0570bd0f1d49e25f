"""The version, in a file of its own that the build reads without running."""

__version__ = '0.2.0'
