"""Training on many images: patches, one step, the run from look to look."""
