"""Ten shapes as functions of the plane, for pictures drawn many at a time.

Each takes coordinates u (to the right) and v (up), in radii of the shape around its centre, arrays of one shape, and
gives the distance to the edge in radii, negative inside: exact near straight edges and circles, elsewhere close enough
for an edge that is smooth over one pixel.
"""

import numpy as np
from numpy import ndarray as Array


def circle(u: Array, v: Array) -> Array:
    """A disc."""
    return np.hypot(u, v) - 0.95


def square(u: Array, v: Array) -> Array:
    """An upright square."""
    return np.maximum(abs(u), abs(v)) - 0.85


def triangle(u: Array, v: Array) -> Array:
    """A triangle with a corner on top."""
    return np.maximum(-v - 0.65, 0.866 * abs(u) + 0.5 * v - 0.55)


def cross(u: Array, v: Array) -> Array:
    """A plus sign."""
    across, up = abs(u), abs(v)
    return np.minimum(np.maximum(across - 1, up - 0.3), np.maximum(across - 0.3, up - 1))


def ring(u: Array, v: Array) -> Array:
    """A disc with a hole."""
    return abs(np.hypot(u, v) - 0.75) - 0.25


def star(u: Array, v: Array) -> Array:
    """A star of five points, one of them on top."""
    fifth, outer, inner = 2 * np.pi / 5, 1.15, 0.5
    angle = abs(np.mod(np.arctan2(u, v) + fifth / 2, fifth) - fifth / 2)  # from the nearest point of the star
    radius = np.hypot(u, v)
    along, aside = radius * np.cos(angle), radius * np.sin(angle)
    to_x, to_y = inner * np.cos(fifth / 2) - outer, inner * np.sin(fifth / 2)  # from the point down to the notch
    return (to_y * (along - outer) - to_x * aside) / np.hypot(to_x, to_y)


def heart(u: Array, v: Array) -> Array:
    """A heart."""
    return np.hypot(u, 1.15 * v - 0.65 * np.sqrt(abs(u)) + 0.15) - 0.95


def bar(u: Array, v: Array) -> Array:
    """A rod that lies flat."""
    return np.maximum(abs(u) - 1.1, abs(v) - 0.3)


def moon(u: Array, v: Array) -> Array:
    """A crescent, open to the right."""
    return np.maximum(np.hypot(u, v) - 1, 0.8 - np.hypot(u - 0.5, v))


def arrow(u: Array, v: Array) -> Array:
    """An arrow that points up."""
    head = np.maximum(-v, 0.74 * abs(u) + 0.67 * v - 0.67)
    return np.minimum(head, np.maximum(abs(u) - 0.25, abs(v + 0.5) - 0.55))


GLYPHS = {shape.__name__: shape for shape in (circle, square, triangle, star, heart, cross, ring, moon, arrow, bar)}
