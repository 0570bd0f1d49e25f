"""What an estimator raises when it is the image that has no kernel."""


class NoKernelError(ValueError):
  """This image gives no kernel by this method; `estimate` then does without."""
