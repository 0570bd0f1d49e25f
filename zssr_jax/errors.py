"""The errors that concern a user."""

from __future__ import annotations


class InputError(ValueError):
  """A file that cannot be used; the message is one line naming it."""


class NoKernelError(ValueError):
  """This image gives no kernel by this method; `estimate` then does without."""
