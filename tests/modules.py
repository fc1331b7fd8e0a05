"""What PyTorch does with modules, for the tests of layers: copies, exports, processes."""

import copy
import io
import pickle
import warnings
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist


def sample(*shape, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    return torch.asarray(rng.standard_normal(shape) * 1.5 + 0.3).to(dtype)


def randomized(layer, seed=10):
    """The layer, with weights, biases and statistics that nothing begins as, the gate included."""
    with torch.no_grad():
        for i, one in enumerate([*layer.parameters(), *layer.buffers()]):
            if one.dtype.is_floating_point:
                one.copy_(0.2 + 0.6 * torch.rand(one.shape, generator=_generator(seed + i)))
    return layer


def _generator(seed):
    return torch.Generator().manual_seed(seed)


def copies(layer):
    """A layer copied, pickled, and saved whole."""
    saved = io.BytesIO()
    torch.save(layer, saved)
    saved.seek(0)
    return {
        "deepcopy": copy.deepcopy(layer),
        "pickle": pickle.loads(pickle.dumps(layer)),
        "save": torch.load(saved, weights_only=False),
    }


def in_onnx_runtime(layer, x, path, **options):
    """A layer's result in ONNX Runtime, exported by torch.export, for inputs of that shape."""
    import onnxruntime

    with warnings.catch_warnings():
        # What the exporter says of PyTorch's own trees, and of a model in training.
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.onnx.export(layer, (x,), path, dynamo=True, verbose=False, **options)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(x):
        (name,) = (one.name for one in session.get_inputs())
        return torch.asarray(session.run(None, {name: x.numpy()})[0])

    return run


def in_two_processes(work, folder, *arguments):
    """What `work(rank, *arguments)` gives in each of two processes that know of each other."""
    given = (work, str(folder), arguments)
    torch.multiprocessing.spawn(_process, given, nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def _process(rank, work, folder, arguments):
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    torch.save(work(rank, *arguments), f"{folder}/{rank}.pt")
    dist.destroy_process_group()
