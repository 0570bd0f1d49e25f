"""The flow of bin/main.py: flags, files in, `train_image`, files out."""
