"""torch.hub.load(REPOSITORY, "ode_vgan", FOLDER, source="local") reads a folder that `ode-vgan export` wrote."""

dependencies = ["torch", "torchdiffeq", "safetensors", "yaml", "numpy"]


def ode_vgan(folder: str, device: str = "cpu"):
    """The trained generator of an exported folder, ready to sample: see `ode_vgan.load`."""
    from ode_vgan import load

    return load(folder, device=device)
