"""Numbers that several modules share."""

# Standard deviation of the error that rounding to 8 bits leaves in an image.
ROUNDING = 0.29 / 255
