"""Numbers that several modules share."""

# Standard deviation of the error that rounding to 8 bits leaves in an image.
ROUNDING = 0.29 / 255
# Standard deviation of the noise on sons, at most, where the input tells it.
MOST_NOISE = 0.1
