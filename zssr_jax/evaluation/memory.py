"""Peak memory of one image: the accelerator's, or the process's on a CPU."""

from __future__ import annotations

import sys

import jax


def reset_peak() -> None:
  """Starts a new peak where the system can do that (Linux, CPU)."""
  try:
    with open('/proc/self/clear_refs', 'w') as file:
      file.write('5')  # resets VmHWM
  except OSError:
    pass  # the peak is then that of the process so far


def peak_megabytes(device: jax.Device) -> float:
  """Returns the most memory in use, in MB, since `reset_peak` if that works.

  Args:
    device: an accelerator that counts its memory reports its own peak, which
      cannot be reset; for others it is the resident set of this process,
      or 0 where the system does not tell it.
  """
  stats = device.memory_stats() if device.platform != 'cpu' else None
  if stats and 'peak_bytes_in_use' in stats:
    return stats['peak_bytes_in_use'] / 1e6
  try:
    with open('/proc/self/status') as file:
      for line in file:
        if line.startswith('VmHWM:'):
          return int(line.split()[1]) * 1024 / 1e6
  except OSError:
    pass
  try:
    import resource
  except ImportError:  # on Windows
    return 0.0
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak / 1e6 if sys.platform == 'darwin' else peak * 1024 / 1e6
