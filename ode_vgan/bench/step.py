"""Training steps: ours beside the same steps written plainly, and beside TGAN-ODE's of 2020."""

from collections.abc import Callable

from ode_vgan.bench.contender import Contender
from ode_vgan.bench.contest import Asked, Contest, Work
from ode_vgan.bench.plain import write_as_in_2020, write_plainly

FP32, BF16 = "32-true", "bf16-mixed"
TOLERANCE = {FP32: 1e-4, BF16: 0.1}  # of losses; bf16 has 8 bits
OF_2020 = "+experiment=gordon2020/tgan_ode_lin"
SMALL = ("data.size=32", "data.frames=8", "data.batch=4")  # where a bench is quick


def contests(asked: Asked) -> list[Contest]:
    """An average step of the default configuration and of the quickstart, and a step of TGAN-ODE (lin)."""
    small = SMALL if asked.quick else ()
    found = []
    for name, more, target in (("default", small, 1 / 1.5), ("quickstart", ("+experiment=quickstart",), None)):
        found += beside(name, "eager fp32, as written", more, asked, write_plainly, target)
    return found + beside("tgan_ode_lin", "as in 2020", (OF_2020, *small), asked, write_as_in_2020, 1 / 2)


def beside(
    name: str, against: str, overrides: tuple[str, ...], asked: Asked, plainly: Callable, target: float | None
) -> list[Contest]:
    """One row a precision of ours; theirs is fp32.

    Args:
        overrides: of train.py. plainly: rewrites a GAN in place.
        target: of the faster of both rows; the other one has none.
    """
    made = {}
    for precision in (FP32, BF16):
        config = asked.compose([*overrides, *asked.overrides, f"trainer.precision={precision}"])
        made[precision] = Contender(config, asked.fps, asked.device)
    steps = getattr(made[FP32].module, "penalty_every", 1)
    plain = Contender(made[FP32].config, asked.fps, asked.device)
    plainly(plain.module)
    note = f"mean of {steps} steps, one with R1 and R2" if steps > 1 else "a step without clipping singular values"
    items = Work(items=steps * len(plain.batch["text"]), unit="clips")

    def contest(precision: str) -> Contest:
        ours = made[precision]
        return Contest(
            "step", f"{name}, {precision}", against, lambda: cycle(ours, steps), lambda: cycle(plain, steps),
            lambda: losses_apart(ours, plain, plainly), tolerance=TOLERANCE[precision], work=items,
            target=target if precision == BF16 else None, note=note,
        )  # fmt: skip

    return [contest(precision) for precision in (FP32, BF16)]


def cycle(contender: Contender, steps: int) -> None:
    """So many steps, the last of them with penalties."""
    for number in range(1, steps + 1):
        contender._step(number)


def losses_apart(ours: Contender, plain: Contender, plainly: Callable) -> float:
    """Largest relative difference of what a first step tells, penalties in it, from the same new weights; of what is
    below 0.01 in size, the difference in hundredths."""
    told = []
    fresh = [Contender(one.config, 12.0, str(one.device)) for one in (ours, plain)]
    fresh[0].module.load_state_dict(fresh[1].module.state_dict())
    plainly(fresh[1].module)
    for one in fresh:
        one.module.log_dict = lambda values: told.append({name: float(value) for name, value in values.items()})
        one.penalty_step()
    mine, theirs = told
    names = [name for name in theirs if name.partition("/")[0] in ("critic", "generator", "penalty")]
    return max(abs(mine[name] - theirs[name]) / max(abs(theirs[name]), 1e-2) for name in names)
