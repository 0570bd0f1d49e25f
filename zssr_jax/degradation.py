"""How a son is made of a father: blur and subsample, then noise.

The one definition shared by the training pool, back-projection and test data.
Notation (ZSSR section 3.2): `son = (father * k) downscaled by s + noise`.

Kernel convention: `son[i, j] = sum_uv k[u, v] father[s i + u - c, s j + v - c]`
with `c = size // 2`: correlation, phase 0. The father is first cut to a
multiple of an integer `s` and extended half-sample symmetric. With that, the
result is aligned with the father when the kernel's centre of mass lies at
`c + (s - 1) / 2` (`aligned_center`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from zssr_jax.ops import resize
from zssr_jax.ops.resize import Scale


def _blur(image: jax.Array, kernel: jax.Array, stride: tuple[int, int]):
  height, width = kernel.shape
  pads = ((height // 2, (height - 1) // 2), (width // 2, (width - 1) // 2))
  padded = jnp.pad(image, (*pads, (0, 0)), mode='symmetric')
  out = jax.lax.conv_general_dilated(
    padded.transpose(2, 0, 1)[..., None],
    kernel[:, :, None, None].astype(image.dtype),
    stride,
    'VALID',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    precision=jax.lax.Precision.HIGHEST,
  )
  return out[..., 0].transpose(1, 2, 0)


def downscale(
  image: jax.Array,
  scale: Scale,
  kernel: jax.Array | None = None,
  *,
  border: str = 'replicate',
) -> jax.Array:
  """Blurs and subsamples `[H, W, C]`; runs inside jit.

  Args:
    image: `[H, W, C]`.
    scale: number or pair (y, x), at least 1.
    kernel: `[h, w]`, used as it is; None is antialiased bicubic.
    border: of the bicubic path, 'replicate' or 'symmetric'. A kernel always
      meets a half-sample symmetric border.

  Returns:
    `[ceil(H / s), ceil(W / s), C]`; floor instead of ceil for a kernel at an
    integer scale, since the image is then cut to a multiple first.
  """
  scales = resize.scale_pair(scale)
  inverse = (1 / scales[0], 1 / scales[1])
  if kernel is None:
    return resize.imresize(image, inverse, border=border)
  if all(s == int(s) for s in scales):
    stride = (int(scales[0]), int(scales[1]))
    rows, columns = (
      n // s * s for n, s in zip(image.shape[:2], stride, strict=True)
    )
    blurred = _blur(image[:rows, :columns], kernel, stride)
    return blurred[: rows // stride[0], : columns // stride[1]]
  # Between the pixels the blurred image is read off by cubic interpolation.
  # imresize samples at s i + (s - 1) / 2, this convention at s i.
  blurred = _blur(image, kernel, (1, 1))
  out = blurred
  for axis in (0, 1):
    if scales[axis] == 1:
      continue
    size = image.shape[axis]
    matrix = _sample_matrix(size, scales[axis])
    spec = 'ah,hwc->awc' if axis == 0 else 'aw,hwc->hac'
    out = jnp.einsum(
      spec,
      jnp.asarray(matrix, image.dtype),
      out,
      precision=jax.lax.Precision.HIGHEST,
    )
  return out


def _sample_matrix(size: int, scale: float) -> np.ndarray:
  """Cubic interpolation at positions `scale * i`: `[ceil(size/s), size]`."""
  count = resize.scaled_shape((size, size), 1 / scale)[0]
  position = scale * np.arange(count)
  low = np.floor(position).astype(int)
  t = position - low
  taps = resize.cubic_taps(t)
  matrix = np.zeros((count, size))
  for offset in range(4):
    column = np.clip(low + offset - 1, 0, size - 1)
    np.add.at(matrix, (np.arange(count), column), taps[offset])
  return matrix


def degrade(
  key: jax.Array,
  image: jax.Array,
  scale: Scale,
  kernel: jax.Array | None = None,
  *,
  noise_std: float | jax.Array = 0.0,
  border: str = 'replicate',
) -> jax.Array:
  """Makes the son of a father: `downscale`, Gaussian noise, clip to [0, 1].

  Args:
    key: random key of the noise; unused when `noise_std` is the number 0.
    image: father `[H, W, C]` in [0, 1].
    scale: as in `downscale`.
    kernel: as in `downscale`.
    noise_std: standard deviation of the noise, in image units (1 is white),
      a number or float32 scalar.
    border: as in `downscale`.

  Returns:
    The son, in [0, 1]; its shape is that of `downscale`.
  """
  son = downscale(image, scale, kernel, border=border)
  if isinstance(noise_std, jax.Array) or noise_std:
    son = son + noise_std * jax.random.normal(key, son.shape, son.dtype)
  return jnp.clip(son, 0.0, 1.0)
