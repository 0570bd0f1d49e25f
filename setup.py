"""For tools that ask for a setup.py; pyproject.toml describes the package."""

import setuptools

setuptools.setup()
