"""A page in the browser, on this machine: `zssr app`."""
