"""The kernels that the kit knows."""

KERNELS = (
    "instance_norm",
    "revin",
    "adain",
    "batch_instance_norm",
    "conditional_instance_norm",
    "spatially_adaptive_norm",
)
