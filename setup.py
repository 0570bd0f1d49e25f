"""Packaging of zssr_jax; the exact versions `make` uses are in the lock."""

import setuptools

setuptools.setup(
  name='zssr_jax',
  version='0.1.0',  # the only place that says it
  description='Zero-shot super-resolution in JAX and Flax',
  license_expression='Apache-2.0',
  python_requires='>=3.11',
  packages=setuptools.find_packages(include=['zssr_jax', 'zssr_jax.*']),
  package_data={
    'zssr_jax': ['py.typed'],
    'zssr_jax.weights': ['*.safetensors', 'README.md'],
    'zssr_jax.report': ['*.css', '*.js'],
  },
  install_requires=[
    'absl-py',
    'dm-pix',
    'flax>=0.12',
    'h5py',
    'jax>=0.10.0',
    'jaxlib',
    'ml_collections',
    'numpy',
    'optax>=0.2.5',
    'pillow',
    'rich',
    'safetensors',
    'scipy',
  ],
  extras_require={
    'convert': ['torch'],
    'test': ['import-linter', 'pytest', 'scikit-image', 'selenium'],
    'lint': ['mypy', 'ruff'],
    'bench': ['matplotlib', 'torch==2.13.0'],
  },
)
