"""The optimizer step, twice: plain torch, and DeepSpeed where the command line asks for it.

Both hold weights in the model's precision and a master copy in fp32, accumulate gradients over micro-batches, average
them over the processes, clip them by their global norm and apply AdamW: without decay on biases and layer norms.
source: TurkuNLP 6732bc9 megatron/optimizer/__init__.py (parameter groups; apex FusedAdam's default is AdamW)
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from encore.model.gpt import GPT
from encore.train.world import World


@dataclass(frozen=True)
class Hyperparameters:
    """AdamW's, and the norm that gradients are clipped to (0: not)."""

    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    clip_grad: float


class Engine(Protocol):
    """What the loop needs of an optimizer; `partitions` is the number of files that its state takes."""

    name: str
    partitions: int

    def step(self, batches: Iterable[Tensor], count: int, lr: float) -> tuple[Tensor, Tensor]:
        """Train on `count` micro-batches, int64 (micro_batch, sequence + 1); this rank's mean loss, gradient norm."""

    def state(self) -> dict[str, Any]:
        """This rank's part of the state: tensors and plain values."""

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state."""


class _Flat:
    """Parameters as views of one fp32 tensor, so that the optimizer, the norm and the reduction see a single one."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters
        self.master = torch.cat([p.detach().flatten().float() for p in parameters])
        self.master.grad = torch.zeros_like(self.master)
        sizes = [p.numel() for p in parameters]
        self.views = [
            v.view_as(p) for v, p in zip(self.master.split(sizes), parameters, strict=True)
        ]
        for p, weights, gradient in zip(
            parameters, self.views, self.master.grad.split(sizes), strict=True
        ):
            if p.dtype == torch.float32:
                p.data, p.grad = weights, gradient.view_as(p)
            else:
                p.register_post_accumulate_grad_hook(_accumulate_into(gradient.view_as(p)))

    def spread(self) -> None:
        """Bring the master weights to parameters of a lower precision."""
        if self.parameters[0].dtype != torch.float32:
            torch._foreach_copy_(list(self.parameters), self.views)


def _accumulate_into(total: Tensor) -> Any:
    def hook(parameter: Tensor) -> None:
        total.add_(parameter.grad)
        parameter.grad = None

    return hook


class TorchEngine:
    """AdamW over two flat tensors, those that decay and those that do not; every rank holds all of the state."""

    name = "torch"
    partitions = 1

    def __init__(self, model: GPT, hyperparameters: Hyperparameters, world: World) -> None:
        self._model, self._clip, self._world = model, hyperparameters.clip_grad, world
        self._flats = [_Flat(group) for group in _groups(model)]
        self._optimizer = _adamw([[flat.master] for flat in self._flats], hyperparameters)

    def step(self, batches: Iterable[Tensor], count: int, lr: float) -> tuple[Tensor, Tensor]:
        """See Engine."""
        gradients = [flat.master.grad for flat in self._flats]
        torch._foreach_zero_(gradients)
        total = torch.zeros((), device=self._world.device)
        for batch in batches:
            loss = self._model(batch[:, :-1], batch[:, 1:])
            (loss / count).backward()
            total += loss.detach()
        for gradient in gradients:
            self._world.mean_(gradient)
        norm = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(g) for g in gradients])
        )
        if self._clip:
            torch._foreach_mul_(gradients, (self._clip / (norm + 1e-6)).clamp(max=1.0))
        _set_rate(self._optimizer, lr)
        with torch.no_grad():
            self._optimizer.step()
            for flat in self._flats:
                flat.spread()
        return total / count, norm

    def state(self) -> dict[str, Any]:
        """See Engine; keys as DeepSpeed's."""
        masters = [flat.master.detach() for flat in self._flats]
        return {
            "base_optimizer_state": self._optimizer.state_dict(),
            "single_partition_of_fp32_groups": masters,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See Engine."""
        self._optimizer.load_state_dict(state["base_optimizer_state"])
        with torch.no_grad():
            for flat, master in zip(
                self._flats, state["single_partition_of_fp32_groups"], strict=True
            ):
                flat.master.copy_(master)
                flat.spread()


class DeepSpeedEngine:
    """DeepSpeed's engine, configured by its own file; each rank holds its part of the state (ZeRO stage 1)."""

    name = "deepspeed"

    def __init__(
        self,
        model: GPT,
        hyperparameters: Hyperparameters,
        world: World,
        configuration: dict[str, Any],
    ) -> None:
        if world.device.type == "cpu":
            os.environ.setdefault(
                "DS_ACCELERATOR", "cpu"
            )  # or it warns that it found nothing better
        import deepspeed  # takes seconds, and is not needed without --deepspeed

        deepspeed.utils.logger.setLevel(logging.WARNING)
        # its shared-memory reduction would be compiled here, by whatever compiler the machine has; gloo does it, too
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self.partitions, self._rank = world.size, world.rank
        with contextlib.redirect_stdout(sys.stderr):
            self._engine, *_ = deepspeed.initialize(
                model=model, optimizer=_adamw(_groups(model), hyperparameters), config=configuration
            )

    def step(self, batches: Iterable[Tensor], count: int, lr: float) -> tuple[Tensor, Tensor]:
        """See Engine."""
        _set_rate(self._engine.optimizer, lr)
        total = torch.zeros((), device=self._engine.device)
        for batch in batches:
            loss = self._engine(batch[:, :-1], batch[:, 1:])
            self._engine.backward(loss)
            self._engine.step()
            total += loss.detach()
        return total / count, torch.as_tensor(self._engine.get_global_grad_norm())

    def state(self) -> dict[str, Any]:
        """See Engine."""
        state = self._engine.optimizer.state_dict()
        kept = (
            "base_optimizer_state",
            "single_partition_of_fp32_groups",
        )  # the rest follows from the configuration
        return {key: state[key] for key in kept}

    def restore(self, state: dict[str, Any]) -> None:
        """See Engine."""
        optimizer = self._engine.optimizer
        own: list[dict[str, Any]] = [{} for _ in range(self.partitions)]
        own[self._rank] = optimizer.state_dict() | state
        with contextlib.redirect_stdout(sys.stderr):
            optimizer.load_state_dict(own, load_optimizer_states=True, load_from_fp32_weights=True)


def _groups(model: GPT) -> list[list[Tensor]]:
    matrices = [p for p in model.parameters() if p.ndim == 2]
    return [matrices, [p for p in model.parameters() if p.ndim != 2]]


def _adamw(
    groups: Sequence[Sequence[Tensor]], hyperparameters: Hyperparameters
) -> torch.optim.AdamW:
    decays, others = groups
    return torch.optim.AdamW(
        [
            {"params": decays, "weight_decay": hyperparameters.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=hyperparameters.lr,
        betas=hyperparameters.betas,
        eps=hyperparameters.eps,
        fused=True,
    )


def _set_rate(optimizer: Any, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
