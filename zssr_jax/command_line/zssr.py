"""Super-resolves photos, each by a network trained on that photo alone.

  zssr photo.jpg                          writes photo_x2.png
  zssr *.jpg folder/ -s 3 -o out/         many, three times as large
  zssr folder/ -r -o out/                 with its sub-folders, mirrored in out
  zssr photo.jpg -o large.tif             the suffix chooses the format
  zssr photo.jpg --preview                the quickest look
  zssr photo.png --config=fast --config.start_steps=300
  zssr photo.png --kernel=estimate --noise=3
  zssr old.jpg --explain
  zssr folder/ --dry-run                  what would be done, and how long
  zssr folder/ --cluster=auto             on all hosts of a Ray cluster
  zssr app                                a page to drop photos on

Without --config it finds out what happened to the photo (blur, noise,
compression) and trains accordingly. --list-configs tells the others. What is
known of the photo holds, with any config:

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
STEM_xS_kernel.png; with --report one page to look at them all; of several
inputs manifest.jsonl, which says what became of each. What was finished before
is passed over, and so are results among the inputs. Exit code: 0; 1 when some
of several inputs failed; 2 for bad arguments or a single bad input; 130 after
Ctrl-C.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zssr_jax import presets
from zssr_jax.command_line import app, arguments

_TEXT_FLAGS = {
  'scale': ('2', "Number such as 2 or 1.5, fraction '3/2', or pair 'Y,X'."),
  'kernel': (None, 'What blurred the photo: see above.'),
  'noise': (None, 'Its noise, in grey levels of 255: see above.'),
  'jpeg': (None, 'How it was compressed: see above.'),
  'reference': (None, 'Ground truth to score against: image, or folder.'),
}
_SWITCHES = {
  'recursive': 'Take the sub-folders of a folder, too.',
  'overwrite': 'Replace existing results.',
  'dry_run': 'Say what would be done, how long it takes and in what memory.',
  'explain': 'Tell what was found of blur, noise and compression, and why.',
  'preview': 'One copy, and no training where there is a start: quickest.',
  'zero_shot': 'Use nothing that was learnt from other images.',
  'report': 'Write report.html: before and after, curves, numbers.',
}
_SHORT = {'scale': 's', 'output': 'o', 'input': 'i', 'recursive': 'r'}


def define_flags(values: flags.FlagValues, output: str = '.') -> None:
  """Defines the flags but --config, named as in `arguments.Options`.

  Args:
    values: takes them.
    output: where results go without --output.
  """
  flags.DEFINE_multi_string(
    'input',
    [],
    'File, FILE[PAGE], folder or glob; the same as without --input.',
    short_name=_SHORT['input'],
    flag_values=values,
  )
  flags.DEFINE_string(
    'output',
    output,
    'Folder for the results; of one input a file, whose suffix (png, jpg, tif)'
    ' is its format.',
    short_name=_SHORT['output'],
    flag_values=values,
  )
  for name, (default, text) in _TEXT_FLAGS.items():
    flags.DEFINE_string(
      name, default, text, short_name=_SHORT.get(name), flag_values=values
    )
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
  for name, text in _SWITCHES.items():
    flags.DEFINE_boolean(
      name, False, text, short_name=_SHORT.get(name), flag_values=values
    )


def list_configs() -> str:
  """Returns the presets, a line each."""
  width = max(map(len, presets.SUMMARIES))
  return ''.join(
    f'{name:{width}}  {text}\n' for name, text in presets.SUMMARIES.items()
  )


def main(
  argv: list[str], *, output: str = '.', example: Path | None = None
) -> int:
  """Runs a command line and returns its exit code.

  Args:
    argv: program name and arguments.
    output: where results go without --output.
    example: folder of the example that is taken without an input.
  """
  if {'--list-configs', '--list_configs'} & set(argv[1:]):
    print(list_configs(), end='', flush=True)
    return 0

  def define(values: flags.FlagValues) -> None:
    define_flags(values, output)

  def work() -> int:
    options = arguments.parse_options(argv, define, example=example)
    with app.importing():  # not before: JAX takes a second
      from zssr_jax import compile_cache
      from zssr_jax.command_line import upscale
    compile_cache.use_compile_cache()
    return upscale.run(options)

  usage = (
    f'{__doc__}\n--config=NAME, or FILE; --config.FIELD=VALUE overrides one of'
    f' its fields:\n\n{list_configs()}'
  )
  return app.run_command(argv, define, work, usage=usage)
