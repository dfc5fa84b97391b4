"""How well frames agree with a text and with each other, in the space of CLIP."""

from torch import Tensor

from ode_vgan.errors import UserError

UNIT_TOLERANCE = 1e-3  # rows may come from half precision


def clipsim(frame_rows: Tensor, text_rows: Tensor) -> Tensor:
    """CLIPSIM of each clip: 100 times the mean cosine between its frames and its text.

    Args:
        frame_rows: (N, T, E), unit rows.
        text_rows: (N, E), unit rows; row i is the text of clip i.

    Returns:
        (N,) float64 in [-100, 100].

    Raises:
        UserError: the shapes disagree, or rows are not unit.
    """
    if frame_rows.ndim != 3 or text_rows.shape != frame_rows[:, 0].shape:
        raise UserError(
            f"frames are {tuple(frame_rows.shape)} and texts {tuple(text_rows.shape)}; "
            "give (N, T, E) and (N, E) of one model, one text a clip."
        )
    return 100 * (_unit(frame_rows) * _unit(text_rows)[:, None]).sum(-1).mean(1)


def temporal_consistency(frame_rows: Tensor) -> Tensor:
    """Mean cosine between consecutive frames of each clip: 1 for a still one.

    Args:
        frame_rows: (N, T, E), unit rows, T >= 2.

    Returns:
        (N,) float64 in [-1, 1].

    Raises:
        UserError: fewer than two frames, or rows are not unit.
    """
    if frame_rows.ndim != 3 or frame_rows.shape[1] < 2:
        raise UserError(f"frames are {tuple(frame_rows.shape)}; give (N, T, E) with T >= 2 to compare neighbours.")
    rows = _unit(frame_rows)
    return (rows[:, 1:] * rows[:, :-1]).sum(-1).mean(1)


def _unit(rows: Tensor) -> Tensor:
    rows = rows.double()
    lengths = rows.norm(dim=-1)
    if not ((lengths - 1).abs() <= UNIT_TOLERANCE).all():  # also false for NaN
        worst = float(lengths.flatten()[(lengths - 1).abs().nan_to_num(float("inf")).argmax()])
        raise UserError(f"a row has length {worst:.4g}, not 1; give unit rows, as ClipFrames does.")
    return rows
