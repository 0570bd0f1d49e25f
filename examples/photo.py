# %% [markdown]
# # Enlarge a photo
#
# From one photo to a sharper, larger one, in the order in which the questions
# come up. This file is a notebook kept as text:
# [jupytext](https://jupytext.org) opens it as one (`jupytext --to notebook
# photo.py`, or "Open With > Notebook" in JupyterLab with its extension), and
# any editor that knows `# %%` runs it cell by cell. As a script it runs, too.
#
# The photo is the one that comes with the examples; put the name of your own in
# its place.

# %%
import pathlib

import numpy as np
from PIL import Image

import zssr_jax

folder = pathlib.Path('examples')  # or where this notebook is
if not folder.is_dir():
  folder = pathlib.Path()
photo = folder / 'astronaut_lr.png'

# %% [markdown]
# ## Twice as large
#
# A small network is trained on this photo alone. What blurred it, its noise and
# its compression are found out first. It takes some ten seconds on two cores.

# %%
result = zssr_jax.super_resolve(photo, 2)

# %% [markdown]
# ## Look at it
#
# A result shows itself.

# %%
result

# %% [markdown]
# ## Save it
#
# The suffix chooses the format. Alpha, 16 bits, colour profile and EXIF of a
# photo that has them are kept.

# %%
result.save('out/photo_x2.png')
result.save('out/photo_x2.jpg', quality=90)

# %% [markdown]
# ## What was found
#
# In one line, and in all detail. A warning says what had to be given up, notes
# what of the file was converted.

# %%
print(result.said)
print(result.warning, result.notes)
result.result

# %% [markdown]
# ## Another scale
#
# Any number from 1 to 16, or one for each axis, (y, x).

# %%
larger = zssr_jax.super_resolve(photo, 3)
larger

# %% [markdown]
# ## Another preset
#
# `auto` is for photos of which nothing is known. `fast` is for images that were
# only shrunk, such as screenshots; `help(zssr_jax.Config)` explains every
# setting.

# %%
fast = zssr_jax.super_resolve(photo, 2, config='fast')
config = zssr_jax.load_config('fast', max_steps=50)
faster = zssr_jax.super_resolve(photo, 2, config=config, seed=1)

# %% [markdown]
# ## Another photo, without training
#
# What was trained on one photo serves others that were made alike: by the same
# camera, lens and settings. It can be kept in a file.

# %%
upscaler = result.upscaler
upscaler.save('out/mine.safetensors')
upscaler = zssr_jax.load_upscaler('out/mine.safetensors')
other = upscaler(Image.open(photo).rotate(180))
other

# %% [markdown]
# ## Arrays in and out
#
# Of NumPy, JAX or torch: uint8, uint16, or floats from 0 to 1, as `[H, W, C]`
# or `[H, W]`. For `[C, H, W]`, as torch has them, say `layout='CHW'`. The
# result is float32.

# %%
pixels = np.asarray(Image.open(photo))
enlarged = upscaler(pixels).image
print(pixels.shape, pixels.dtype, '->', enlarged.shape, enlarged.dtype)
same = upscaler(np.moveaxis(pixels, -1, 0), layout='CHW').image
print(np.abs(enlarged - same).max())

# %% [markdown]
# ## A blur that is known
#
# The kernel by which the photo was blurred, as an array or a file (`.npy`,
# `.mat`, an image), beats every guess. To see the guess alone, ask for it.

# %%
found = zssr_jax.estimate_degradation(pixels.astype(np.float32) / 255, 2)
print(found)
kernel = np.load(folder / 'astronaut_kernel.npy')
sharper = zssr_jax.super_resolve(
  photo, 2, config='nonideal_fast', kernel=kernel
)
sharper
