"""The errors that concern a user."""

from __future__ import annotations


def printable(text: str) -> str:
  r"""Returns text without what would break its line or steer a terminal.

  Names of files can hold both; they are shown as escapes, as in '\n'.
  """
  return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class InputError(ValueError):
  """A file that cannot be used; the message is one line naming it."""

  def __init__(self, message: str):
    super().__init__(printable(message))


class NoRoomError(InputError):
  """One image needs more memory or disk than this machine has free."""


class NoKernelError(ValueError):
  """This image gives no kernel by this method; `estimate` then does without."""


def concerns_one_image(error: BaseException) -> bool:
  """Whether the other images of a run can go on after an error.

  They can where an image cannot be used (a ValueError), a file cannot be read
  or written (an OSError), or one image takes more memory than there is.
  Everything else is a mistake of the program's.
  """
  return isinstance(error, (ValueError, OSError)) or is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
  """Whether there was too little memory, of the host or of a device."""
  # An accelerator out of memory raises an error of JAX's own.
  return isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error)
