"""How a son is made of a father: blur, subsampling, noise, compression.

One value, `Degradation`, says all of it, and everything that degrades, or
undoes it, goes by that value: the training pool, the windows of the
reconstruction error, back-projection, test data, the other methods of the
tables. Notation (ZSSR section 3.2): `son = (father * k) downscaled by s +
noise`, and then, if the image is a JPEG or once was, compressed as it was.

Kernel convention: `son[i, j] = sum_uv k[u, v] father[s i + u - c, s j + v - c]`
with `c = size // 2`: correlation, phase 0. The father is first cut to a
multiple of an integer `s` and extended half-sample symmetric. With that, the
result is aligned with the father when the kernel's centre of mass lies at
`c + (s - 1) / 2` (`blur_kernels.aligned_center`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # loads its parts when they are first used

from zssr_jax import blur_kernels
from zssr_jax.ops import dihedral, resize
from zssr_jax.ops import jpeg as jpeg_lib
from zssr_jax.ops.resize import Scale
from zssr_jax.units import ROUNDING

_HIGHEST = jax.lax.Precision.HIGHEST
# Taps by pixel of the result up to which a blur goes tap by tap. Above, spectra
# are up to twenty times faster on a CPU.
_FEW_TAPS = 16
# The variance within the reach of a kernel before the blur, over that after it.
_SHARPER = 4.0


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=[
    'kernel',
    'noise_std',
    'shot',
    'speckle',
    'jpeg',
    'undo',
    'doubt',
  ],
  meta_fields=['scale', 'border'],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Degradation:
  """What happened to a sharp image; a pytree, scale and border static.

  Attributes:
    scale: HR pixels per LR pixel, number or pair (y, x), at least 1; kept as
      a pair.
    kernel: blur kernel `[h, w]` in the convention of this module, used as it
      is; None is antialiased bicubic.
    noise_std: standard deviation of white Gaussian noise in image units (1 is
      white), a number or float32 scalar; None: no noise.
    shot: variance of the noise at intensity 1 that grows in proportion to the
      intensity, as that of counted photons does; None: none.
    speckle: standard deviation, at intensity 1, of the noise that grows in
      proportion to it; None: none. The three are independent: at intensity x
      the variance is `noise_std^2 + shot x + (speckle x)^2`.
    jpeg: how the image was compressed at last; None: not at all.
    undo: taps `[n, n]`, n odd, of the filter (`wiener`) by which the blur is
      undone at the resolution of the degraded image; None: it is not.
    border: of bicubic resizing, 'replicate' (old MATLAB) or 'symmetric'. A
      kernel always meets a half-sample symmetric border.
    doubt: how wrong the kernel may be: its taps err independently, with
      `doubt` times themselves as variance, but for their sum, which is right;
      so the power of the error at frequency g is `doubt (1 - |K(g)|^2)`. None:
      the kernel is right.
  """

  scale: Any  # a `Scale` when it is made
  kernel: Any = None
  noise_std: Any = None
  shot: Any = None
  speckle: Any = None
  jpeg: jpeg_lib.Jpeg | None = None
  undo: Any = None
  border: str = 'replicate'
  doubt: Any = None

  def __post_init__(self):
    """Turns the scale into a pair."""
    object.__setattr__(self, 'scale', resize.scale_pair(self.scale))

  def replace(self, **changes: Any) -> Degradation:
    """Returns a copy with the named fields changed."""
    return dataclasses.replace(self, **changes)

  def down(self, image: Any, *, transposed: bool = False) -> Any:
    """Blurs and subsamples without noise, linear in the image; runs inside jit.

    Args:
      image: `[H, W, C]`, NumPy or JAX array; without a kernel the result is an
        array of the same library, with one of JAX.
      transposed: see `resize.sample_axis`.

    Returns:
      `[ceil(H / s), ceil(W / s), C]`; floor instead of ceil for a kernel at
      an integer scale, since the image is then cut to a multiple first.
    """
    if self.kernel is None:
      inverse = (1 / self.scale[0], 1 / self.scale[1])
      return resize.imresize(
        image, inverse, border=self.border, transposed=transposed
      )
    if all(s == int(s) for s in self.scale):
      stride = (int(self.scale[0]), int(self.scale[1]))
      rows, columns = (
        n // s * s for n, s in zip(image.shape[:2], stride, strict=True)
      )
      blurred = _blur(image[:rows, :columns], self.kernel, stride)
      return blurred[: rows // stride[0], : columns // stride[1]]
    # Between the pixels the blurred image is read off by cubic interpolation.
    # imresize samples at s i + (s - 1) / 2, this convention at s i.
    out = _blur(image, self.kernel, (1, 1))
    for axis in (0, 1):
      if self.scale[axis] != 1:
        out = _read_off(out, axis, self.scale[axis], transposed)
    return out

  def son(self, key: jax.Array, father: jax.Array) -> jax.Array:
    """Makes the son of a father; runs inside jit.

    That is `down`, noise, clipping, compression. A kernel in doubt is drawn
    anew for every son.

    Args:
      key: random key of the noise and of the kernel's error; unused where
        there is neither.
      father: `[H, W, C]` in [0, 1].

    Returns:
      The son in [0, 1], of the shape of `down`.
    """
    son = self._drawn(key).down(father)
    if (std := self._noise_at(son)) is not None:
      noise = jax.random.normal(key, son.shape, son.dtype)
      son = son + std * noise
    son = jnp.clip(son, 0.0, 1.0)
    return son if self.jpeg is None else jpeg_lib.compress(son, self.jpeg)

  def shown(self, son: Any) -> Any:
    """Returns what a network is shown of a son, or of the input; inside jit.

    Args:
      son: `[h, w, C]`, NumPy or JAX array.

    Returns:
      `[h, w, C]`: filtered by `undo`, a half-sample symmetric border assumed;
      beyond [0, 1] where the filter rings.
    """
    if self.undo is None:
      return son
    return _blur(jnp.asarray(son), self.undo, (1, 1))

  def _drawn(self, key: jax.Array) -> Degradation:
    """Returns it with a kernel as it may be; runs inside jit."""
    if self.kernel is None or self.doubt is None:
      return self
    # Another key than that of the noise.
    draw = jax.random.normal(jax.random.fold_in(key, 1), self.kernel.shape)
    error = jnp.sqrt(self.kernel) * draw
    error = error - self.kernel * error.sum()
    return self.replace(kernel=self.kernel + jnp.sqrt(self.doubt) * error)

  def _noise_at(self, image: jax.Array) -> Any:
    """Returns the noise's standard deviation at every pixel; None: none."""
    if self.shot is None and self.speckle is None:
      return self.noise_std
    signal = jnp.clip(image, 0.0, 1.0)
    variance = jnp.square(
      jnp.asarray(
        0.0 if self.noise_std is None else self.noise_std, image.dtype
      )
    )
    if self.shot is not None:
      variance = variance + self.shot * signal
    if self.speckle is not None:
      variance = variance + jnp.square(self.speckle * signal)
    return jnp.sqrt(variance)

  def error_std(self, image: np.ndarray) -> float:
    """Returns to what level a result should explain an image; on the host.

    That is the root mean square of the noise, in image units. Of the error of
    rounding to 8 bits seven tenths count: explained so far, results were better
    by 0.1 dB than at all of it; with noise the same share would cost as much.
    It is infinite where the error of a compression is not known. A kernel in
    doubt explains less of an image, by what its error makes of it.

    Args:
      image: `[h, w, C]` in [0, 1], the degraded one.
    """
    noise = self.noise_std
    if self.shot is not None or self.speckle is not None:
      noise = self._noise_at(jnp.asarray(image))
    variance = (0.7 * ROUNDING) ** 2
    if noise is not None:
      measured = float(jnp.mean(jnp.square(noise)))
      variance = measured if measured > (1.01 * ROUNDING) ** 2 else variance
    if self.jpeg is not None:
      error = self.jpeg.error_std
      variance += np.inf if error is None else float(error) ** 2
    if self.kernel is not None and self.doubt is not None:
      variance += self._mistaken(image)
    return math.sqrt(variance)

  def _mistaken(self, image: np.ndarray) -> float:
    """The mean square of what the error of a doubtful kernel makes.

    That is `doubt` times the sharp image's variance under the kernel, which is
    taken to be `_SHARPER` times the blurred one's.
    """
    mean = self.replace(doubt=None).at(1)
    blurred = mean.down(jnp.asarray(image))
    variance = mean.down(jnp.asarray(image**2)) - blurred**2
    return float(self.doubt) * _SHARPER * max(float(variance.mean()), 0.0)

  @property
  def relative_doubt(self) -> float:
    """The power of the kernel's error over that of the kernel.

    The mean over the frequencies of the degraded image; 0 without doubt.
    """
    if self.kernel is None or self.doubt is None:
      return 0.0
    norm = math.prod(self.scale) * float(np.square(self.kernel).sum())
    return float(self.doubt) / norm

  def up(self, son: Any, shape: tuple[int, ...] | None = None) -> Any:
    """Upscales a son by cubic interpolation, which a network starts from.

    Args:
      son: `[h, w, C]`, NumPy or JAX array.
      shape: rows and columns of the result; by default `ceil` of the scaled
        sides.

    Returns:
      `[H, W, C]`, an array of the same library.
    """
    rows, columns = (shape or resize.scaled_shape(son.shape, self.scale))[:2]
    return resize.imresize(
      son, self.scale, shape=(rows, columns), border=self.border
    )

  def explained(
    self,
    result: Any,
    shape: tuple[int, ...],
    *,
    transposed: bool = False,
  ) -> Any:
    """Returns what `down(result)` says of an image, where both have pixels.

    Where the scale does not divide the size, `down` may have a row less than
    the image (kernel) or one more (bicubic).

    Args:
      result: `[H, W, C]`, NumPy or JAX array as in `down`.
      shape: rows and columns of the image.
      transposed: see `resize.sample_axis`.

    Returns:
      `down(result)`, `[h', w', C]` with the smaller of both sides.
    """
    again = self.down(result, transposed=transposed)
    rows, columns = (
      min(a, b) for a, b in zip(again.shape[:2], shape[:2], strict=True)
    )
    return again[:rows, :columns]

  def unexplained(self, result: Any, image: Any) -> Any:
    """Returns `image - down(result)`, where both have pixels.

    Args:
      result: `[H, W, C]`, NumPy or JAX array as in `down`.
      image: `[h, w, C]`.

    Returns:
      `[h', w', C]` as `explained` has it.
    """
    again = self.explained(result, image.shape)
    return image[: again.shape[0], : again.shape[1]] - again

  def adjoint(self, rest: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Applies the transpose of `explained`, borders included; inside jit.

    Args:
      rest: `[h', w', C]`, of the shape that `explained` gives.
      shape: `(H, W, C)` of the result.

    Returns:
      `[H, W, C]`: for any `x` and `y`, `<explained(x), y> = <x, adjoint(y)>`.
    """
    result = jax.ShapeDtypeStruct(shape, rest.dtype)
    explained = functools.partial(
      self.explained, shape=rest.shape, transposed=True
    )
    return jax.linear_transpose(explained, result)(rest)[0]

  def at(self, factors: Scale) -> Degradation:
    """Returns it at a gradual stage (ZSSR section 3.3); runs on the host.

    Args:
      factors: number or pair (y, x), at most `scale` on either axis.

    Returns:
      The same noise, `undo` (which is at the son's resolution) and border; the
      kernel stretched in space.

    Raises:
      ValueError: when a kernel would have to be made wider.
    """
    factors = resize.scale_pair(factors)
    if factors == self.scale:
      return self
    kernel = self.kernel
    if kernel is not None:
      kernel = blur_kernels.resample_kernel(kernel, self.scale, factors)
    return self.replace(scale=factors, kernel=kernel)

  def centered(self) -> Degradation:
    """Returns it with its kernel's centre of mass where nothing is shifted."""
    if self.kernel is None:
      return self
    kernel = blur_kernels.resample_kernel(
      self.kernel, self.scale, self.scale, center=True
    )
    return self.replace(kernel=kernel)

  def padded(self, shape: tuple[int, int]) -> Degradation:
    """Returns it with zeros around its kernel, up to a shape `(h, w)`."""
    if self.kernel is None:
      return self
    return self.replace(kernel=blur_kernels.pad_kernel(self.kernel, shape))

  def symmetries(self) -> tuple[int, ...]:
    """Lists the dihedral transforms that leave it the same; runs on the host.

    Averaging over a transform is sound only if the transformed input was made
    by the degradation the network was trained on. Bicubic allows all eight; a
    kernel those that leave it, placed on the grid of the father, unchanged.
    Factors that differ rule out transposing.

    Returns:
      Transform numbers of `ops.dihedral`, beginning with 0.
    """
    candidates = list(range(dihedral.COUNT))
    if self.scale[0] != self.scale[1]:
      candidates = [k for k in candidates if k % 2 == 0]
    if self.kernel is None:
      return tuple(candidates)
    canvas = _on_the_fathers_grid(np.asarray(self.kernel), self.scale)
    if canvas is None:
      return (0,)
    tolerance = 1e-3 * np.abs(canvas).max()
    return tuple(
      k
      for k in candidates
      if np.abs(dihedral.dihedral(canvas, k) - canvas).max() <= tolerance
    )


def correlate(
  image: jax.Array, kernel: jax.Array, stride: tuple[int, int]
) -> jax.Array:
  """Correlates an image with a kernel at every stride-th pixel, no border.

  Args:
    image: `[H, W, C]`.
    kernel: `[h, w]`.
    stride: (y, x).

  Returns:
    `[(H - h) // y + 1, (W - w) // x + 1, C]`.
  """
  out = jax.lax.conv_general_dilated(
    image.transpose(2, 0, 1)[..., None],
    kernel[:, :, None, None].astype(image.dtype),
    stride,
    'VALID',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    precision=_HIGHEST,
  )
  return out[..., 0].transpose(1, 2, 0)


def _blur(
  image: jax.Array, kernel: jax.Array, stride: tuple[int, int]
) -> jax.Array:
  height, width = kernel.shape
  pads = ((height // 2, (height - 1) // 2), (width // 2, (width - 1) // 2))
  padded = jnp.pad(image, (*pads, (0, 0)), mode='symmetric')
  # Test images are made in float64, tap by tap: sums of pixels must be exact.
  exact = image.dtype == jnp.float64
  if exact or kernel.size <= _FEW_TAPS * math.prod(stride):
    return correlate(padded, kernel, stride)
  blurred = _correlate_by_fft(padded, kernel)
  return blurred[:: stride[0], :: stride[1]]


def _correlate_by_fft(image: jax.Array, kernel: jax.Array) -> jax.Array:
  """Computes `correlate` at stride 1 as a product of spectra."""
  # Whatever wraps around lies outside of what is kept.
  shape = [scipy.fft.next_fast_len(n, real=True) for n in image.shape[:2]]
  transfer = jnp.fft.rfft2(kernel.astype(image.dtype), shape).conj()
  spectrum = jnp.fft.rfft2(image, shape, axes=(0, 1)) * transfer[..., None]
  out = jnp.fft.irfft2(spectrum, shape, axes=(0, 1))
  rows, columns = (
    n - k + 1 for n, k in zip(image.shape[:2], kernel.shape, strict=True)
  )
  return out[:rows, :columns].astype(image.dtype)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _read_off(image, axis, scale, transposed) -> jax.Array:
  """Interpolates an axis at positions `scale * i` by the cubic kernel."""
  size = image.shape[axis]
  count = resize.scaled_shape((size, size), 1 / scale)[0]
  position = scale * np.arange(count)
  low = np.floor(position + 1e-9)
  taps = resize.cubic_taps(np.maximum(position - low, 0.0))
  start, weight = low.astype(np.int64) - 1, np.stack(taps, axis=1)
  return resize.sample_axis(image, axis, start, weight, transposed=transposed)


def _on_the_fathers_grid(
  kernel: np.ndarray, scale: tuple[float, float]
) -> np.ndarray | None:
  """Puts a kernel on a square canvas whose middle is the centre of no shift.

  The canvas has twice the resolution, because that centre may lie between two
  taps. Returns None where it lies on neither.
  """
  center = blur_kernels.aligned_center(kernel.shape, scale)
  doubled = [round(2 * c) for c in center]
  if any(abs(2 * c - d) > 1e-6 for c, d in zip(center, doubled, strict=True)):
    return None
  reach = 2 * max(kernel.shape) + max(doubled)
  canvas = np.zeros((2 * reach + 1, 2 * reach + 1))
  rows = 2 * np.arange(kernel.shape[0]) - doubled[0] + reach
  columns = 2 * np.arange(kernel.shape[1]) - doubled[1] + reach
  canvas[np.ix_(rows, columns)] = np.asarray(kernel, np.float64)
  return canvas
