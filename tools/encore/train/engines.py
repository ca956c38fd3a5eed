"""The optimizer step, twice: plain torch, and DeepSpeed where the command line asks for it.

Both hold weights in the model's precision and a master copy in fp32, accumulate gradients over
micro-batches, average them over the processes, clip them by their global norm and apply AdamW:
without decay on biases and layer norms.
source: TurkuNLP 6732bc9 megatron/optimizer/__init__.py (parameter groups; apex FusedAdam's default
is AdamW)
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from encore.model.gpt import GPT
from encore.train.world import World

_SAVED_KEYS = ("base_optimizer_state", "single_partition_of_fp32_groups")
# DeepSpeed reads no state without it
_VERSION_KEY = "ds_version"


@dataclass(frozen=True)
class Hyperparameters:
    """AdamW's, and the norm that gradients are clipped to (0: not)."""

    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    clip_grad: float


class Engine(Protocol):
    """What the loop needs of an optimizer; `partitions` is the number of files of its state."""

    name: str
    partitions: int

    def step(self, batches: Iterable[Tensor], count: int, lr: float) -> tuple[Tensor, Tensor]:
        """Train on `count` micro-batches, each int64 (micro_batch, sequence_length + 1).

        Returns two scalars: this rank's mean loss, and the gradient norm before clipping.
        """

    def state(self) -> dict[str, Any]:
        """This rank's part of the state: tensors and plain values."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state."""


class _FlatParameters:
    """Parameters as views of one fp32 tensor, with one tensor of gradients.

    The optimizer, the norm and the reduction then work on a single tensor each.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self.master = torch.cat([p.detach().flatten().float() for p in parameters])
        self.gradient = torch.zeros_like(self.master)
        self.master.grad = self.gradient
        self.views: list[Tensor] = []
        start = 0
        for parameter in parameters:
            span = slice(start, start + parameter.numel())
            start = span.stop
            weights = self.master[span].view_as(parameter)
            gradient = self.gradient[span].view_as(parameter)
            self.views.append(weights)
            if parameter.dtype == torch.float32:
                parameter.data = weights
                parameter.grad = gradient
            else:
                # autograd would accumulate micro-batches in bf16 and lose small gradients
                hook = _accumulate_into(gradient)
                # torch has no types for it
                parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    def update_parameters(self) -> None:
        """Copy the master weights into parameters of a lower precision."""
        if self.parameters[0].dtype != torch.float32:
            torch._foreach_copy_(list(self.parameters), self.views)


def _accumulate_into(total: Tensor) -> Callable[[Tensor], None]:
    def hook(parameter: Tensor) -> None:
        assert parameter.grad is not None
        total.add_(parameter.grad)
        parameter.grad = None

    return hook


class TorchEngine:
    """AdamW over two flat tensors, one that decays and one that does not.

    Every rank holds all of the state.
    """

    name = "torch"
    partitions = 1

    def __init__(self, model: GPT, hyperparameters: Hyperparameters, world: World) -> None:
        self._model = model
        self._clip = hyperparameters.clip_grad
        self._world = world
        decaying, others = _groups(model)
        self._flats = [_FlatParameters(decaying), _FlatParameters(others)]
        masters = [flat.master for flat in self._flats]
        self._optimizer = _adamw(masters[:1], masters[1:], hyperparameters)

    def step(self, batches: Iterable[Tensor], count: int, lr: float) -> tuple[Tensor, Tensor]:
        """See Engine."""
        gradients = [flat.gradient for flat in self._flats]
        torch._foreach_zero_(gradients)
        total = torch.zeros((), device=self._world.device)
        for batch in batches:
            loss = self._model(batch[:, :-1], batch[:, 1:])
            (loss / count).backward()
            total += loss.detach()
        for gradient in gradients:
            self._world.mean_(gradient)
        norms = [torch.linalg.vector_norm(gradient) for gradient in gradients]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        if self._clip:
            torch._foreach_mul_(gradients, (self._clip / (norm + 1e-6)).clamp(max=1.0))
        _set_rate(self._optimizer, lr)
        with torch.no_grad():
            self._optimizer.step()
            for flat in self._flats:
                flat.update_parameters()
        return total / count, norm

    def state(self) -> dict[str, Any]:
        """See Engine; keys as DeepSpeed's."""
        masters = [flat.master.detach() for flat in self._flats]
        return dict(zip(_SAVED_KEYS, (self._optimizer.state_dict(), masters), strict=True))

    def restore(self, state: dict[str, Any]) -> None:
        """See Engine."""
        optimizer_state, masters = (state[key] for key in _SAVED_KEYS)
        self._optimizer.load_state_dict(optimizer_state)
        _check_moments(self._optimizer)
        with torch.no_grad():
            for flat, master in zip(self._flats, masters, strict=True):
                flat.master.copy_(master)
                flat.update_parameters()


class DeepSpeedEngine:
    """DeepSpeed's engine, configured by its own file; each rank holds its part of the state.

    ZeRO stage 1: the optimizer's state is partitioned, weights and gradients are not. Stage 0
    partitions nothing, as TorchEngine does.
    """

    name = "deepspeed"

    def __init__(
        self,
        model: GPT,
        hyperparameters: Hyperparameters,
        world: World,
        configuration: dict[str, Any],
    ) -> None:
        if world.device.type == "cpu":
            # or it warns that it found nothing better
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        # takes seconds, and is not needed without --deepspeed
        import deepspeed

        deepspeed.utils.logger.setLevel(logging.WARNING)
        # its shared-memory reduction would be compiled here, by whatever compiler the machine has;
        # gloo reduces as well
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self.partitions = world.size
        self._rank = world.rank
        optimizer = _adamw(*_groups(model), hyperparameters)
        # stdout is the trainer's log, which programs read
        with contextlib.redirect_stdout(sys.stderr):
            self._engine, *_ = deepspeed.initialize(
                model=model, optimizer=optimizer, config=configuration
            )

    def step(self, batches: Iterable[Tensor], count: int, lr: float) -> tuple[Tensor, Tensor]:
        """See Engine."""
        _set_rate(self._engine.optimizer, lr)
        total = torch.zeros((), device=self._engine.device)
        for batch in batches:
            loss = self._engine(batch[:, :-1], batch[:, 1:])
            self._engine.backward(loss)
            # only the last micro-batch of a global batch makes it change the weights
            self._engine.step()
            total += loss.detach()
        return total / count, torch.as_tensor(self._engine.get_global_grad_norm())

    def state(self) -> dict[str, Any]:
        """See Engine."""
        state = self._engine.optimizer.state_dict()
        # the rest follows from the configuration
        return {key: state[key] for key in (*_SAVED_KEYS, _VERSION_KEY)}

    def restore(self, state: dict[str, Any]) -> None:
        """See Engine."""
        optimizer = self._engine.optimizer
        # it indexes the states of all ranks by rank, and reads its own alone
        states: list[dict[str, Any]] = [{} for _ in range(self.partitions)]
        states[self._rank] = optimizer.state_dict() | state
        with contextlib.redirect_stdout(sys.stderr):
            optimizer.load_state_dict(
                states, load_optimizer_states=True, load_from_fp32_weights=True
            )
        _check_moments(optimizer.optimizer)


def _groups(model: GPT) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that decay, which are the matrices, and those that do not."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    return matrices, vectors


def _adamw(
    decaying: Sequence[Tensor], others: Sequence[Tensor], hyperparameters: Hyperparameters
) -> torch.optim.AdamW:
    groups = [
        {"params": decaying, "weight_decay": hyperparameters.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=hyperparameters.lr,
        betas=hyperparameters.betas,
        eps=hyperparameters.eps,
        fused=True,
    )


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError for moments of other shapes: torch takes them and fails in the next step."""
    for group in optimizer.param_groups:
        for weights in group["params"]:
            for name, value in optimizer.state.get(weights, {}).items():
                if name != "step" and value.shape != weights.shape:
                    raise ValueError(
                        f"{name} of {list(value.shape)} for weights of {list(weights.shape)}"
                    )


def _set_rate(optimizer: Any, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
