"""Super-resolves photos: the command `zssr`, from a clone; see --help.

  python bin/main.py                                  the bundled example
  python bin/main.py --config=configs/nonideal.py --input=photo.png

Other than those of `zssr`, results go to the folder out.
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


if __name__ == '__main__':  # the imports below may take a second or two
  signal.signal(signal.SIGINT, _leave)

ROOT = Path(__file__).resolve().parents[1]
# The script belongs to the package beside it, installed or not.
sys.path.insert(0, str(ROOT))

from zssr_jax import commands  # noqa: E402
from zssr_jax.command_line import zssr  # noqa: E402


def main(argv: list[str]) -> int:
  return zssr.main(argv, output='out', example=ROOT / 'examples')


if __name__ == '__main__':
  sys.exit(commands.zssr(output='out', example=ROOT / 'examples'))
