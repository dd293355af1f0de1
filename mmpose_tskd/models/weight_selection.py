import torch
from torch import Tensor, nn


def select_evenly(values: Tensor, shape: torch.Size) -> Tensor:
    """Takes evenly spaced entries of a tensor along each dimension, so that the result has the given shape.

    Args:
        values: A tensor at least as large in every dimension.
        shape: The shape of the result, with as many dimensions.

    Example:
        >>> select_evenly(torch.arange(8), torch.Size([4]))
        tensor([0, 2, 4, 6])
    """
    for dim, (wanted, given) in enumerate(zip(shape, values.shape)):
        if wanted != given:
            indices = torch.arange(wanted, device=values.device) * given // wanted
            values = values.index_select(dim, indices)
    return values


@torch.no_grad()
def select_weights(student: nn.Module, teacher: nn.Module) -> int:
    """Starts a network from a selection of the weights of a larger one of its own family.

    Each of the student's parameters and batch-norm statistics takes evenly spaced entries of the teacher's tensor of
    the same name (:func:`select_evenly`). A layer's output and the next layer's input thereby keep the same channels,
    so the student computes a thinned-out version of what the teacher does. This is the uniform selection of
    `Initializing Models with Larger Ones <https://arxiv.org/abs/2311.18823>`_ (Xu et al., ICLR 2024).

    Args:
        student: The network to start.
        teacher: A trained one. The student keeps its own values where the teacher has no tensor of that name, a smaller
            one, or one with another number of dimensions.

    Returns:
        The number of the student's tensors that were taken from the teacher.
    """
    given, taken = teacher.state_dict(), 0
    for name, own in student.state_dict().items():
        values = given.get(name)
        if values is None or values.ndim != own.ndim or any(a > b for a, b in zip(own.shape, values.shape)):
            continue
        own.copy_(select_evenly(values, own.shape))
        taken += 1
    return taken
