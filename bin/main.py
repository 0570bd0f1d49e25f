"""Super-resolves photos, each by a network trained on that photo alone.

  python bin/main.py                                  the bundled example
  python bin/main.py --config=ideal --input=photo.png
  python bin/main.py --input='photos/*.jpg' --scale=3 --kernel=kernel.mat
  python bin/main.py --config.max_steps=500 --input=photo.png --kernel=k.npy
  python bin/main.py --input=photo.png --kernel=estimate --noise=3
  python bin/main.py --input=old.jpg --explain

Without --config it finds out what happened to the photo (blur, noise,
compression) and trains accordingly, configs/auto.py. What is known of it holds,
with any config:

--kernel says what blurred the photo: FILE, or FILE:INDEX (from 0) of several;
gaussian:STD or gaussian:STD,STD,ANGLE (standard deviations along two axes in
pixels of the result; degrees of the first, from x towards y); bicubic; or how
to find it: auto, estimate, joint, recurrence, kernelgan.
--noise is the standard deviation of its noise in grey levels of 255: 3, or 0;
auto: it is measured.
--jpeg says how it was compressed: a quality from 1 to 100 (the tables of the
IJG, chroma 4:2:0), or a JPEG FILE whose tables are taken; none: not at all;
auto: as a JPEG input says itself, which without --jpeg holds for --config=auto.
A file that is named like one of these words or numbers needs ./ in front.

Alpha, bits, profile, EXIF and georeference of an input are kept.
FILE[PAGE] is a page or frame, from 1, of a file that has several.

Writes STEM_xS.png (of a TIFF STEM_xS.tif; of a page STEM_pPAGE_xS) and its
record STEM_xS.json for each input; with --reference, STEM_xS_side_by_side.png;
with a kernel, given or found, STEM_xS_kernel.npy and its picture
STEM_xS_kernel.png; with --report one page to look at them all. Exit
code: 0; 1 when some of several inputs failed; 2 for bad arguments or a single
bad input; 130 after Ctrl-C.
"""

import os
import signal
import sys
from pathlib import Path


def _leave(*_):
  try:
    os.write(2, b'interrupted\n')
  finally:  # also where nothing listens
    os._exit(130)


if __name__ == '__main__':  # the imports below take a second or two
  signal.signal(signal.SIGINT, _leave)

ROOT = Path(__file__).resolve().parents[1]
# The script belongs to the package beside it, installed or not.
sys.path.insert(0, str(ROOT))

from absl import flags  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from zssr_jax.command_line import app, arguments, upscale  # noqa: E402

_TEXT_FLAGS = {
  'input': (
    None,
    'Image, FILE[PAGE], folder or glob. Without: the bundled example.',
  ),
  'output': ('out', 'Folder for the results.'),
  'scale': ('2', "Number such as 2 or 1.5, fraction '3/2', or pair 'Y,X'."),
  'kernel': (None, 'What blurred the photo: see above.'),
  'noise': (None, 'Its noise, in grey levels of 255: see above.'),
  'jpeg': (None, 'How it was compressed: see above.'),
  'reference': (None, 'Ground truth to score against: image, or folder.'),
}


def define_flags(values: flags.FlagValues, argv: list[str]) -> None:
  config_flags.DEFINE_config_file(
    'config',
    str(ROOT / 'configs' / 'auto.py'),
    'Config file, or the name of one in configs/; --config.FIELD=VALUE'
    ' overrides one of its fields.',
    flag_values=values,
    sys_argv=argv,
  )
  for name, (default, text) in _TEXT_FLAGS.items():
    flags.DEFINE_string(name, default, text, flag_values=values)
  flags.DEFINE_integer(
    'seed', 0, 'Random seed.', 0, 2**32 - 1, flag_values=values
  )
  for name, choices, text in (
    (
      'output_format',
      list(arguments.OUTPUT_FORMATS),
      'Of the results; without it png, of a .tif or .tiff tif.',
    ),
    ('bit_depth', ['8', '16', '32'], "Of the results; without it the input's."),
  ):
    flags.DEFINE_enum(name, None, choices, text, flag_values=values)
  flags.DEFINE_integer(
    'quality', None, 'Of a JPEG; without it 95.', 1, 100, flag_values=values
  )
  arguments.define_parallel(values)
  flags.DEFINE_multi_string(
    'weights',
    [],
    'NAME=FILE for vgg16 (content loss) or vdsr (backbone); else those of the'
    ' data root, ZSSR_JAX_DATA.',
    flag_values=values,
  )
  for name, text in (
    ('overwrite', 'Replace existing results.'),
    ('explain', 'Tell what was found of blur, noise and compression, and why.'),
    ('preview', 'One copy, and no training where there is a start: quickest.'),
    ('zero_shot', 'Use nothing that was learnt from other images.'),
    ('report', 'Write report.html: before and after, curves, numbers.'),
  ):
    flags.DEFINE_boolean(name, False, text, flag_values=values)


def main(argv: list[str]) -> int:
  return upscale.main(argv, define_flags, usage=__doc__, root=ROOT)


if __name__ == '__main__':
  sys.exit(app.run_interruptibly(lambda: main(sys.argv)))
