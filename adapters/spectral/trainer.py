"""The regulariser in loops that others wrote: a mixin for Hugging Face's Trainer, a callback for Lightning."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from front_onnx.adapters.spectral.regularizer import SpectralRegularizer

from front_onnx.errors import RequestError

__all__ = ["SpectralTrainerMixin", "lightning_callback"]


class SpectralTrainerMixin:
    """Adds L_reg to the loss of a `transformers.Trainer`.

        class MyTrainer(SpectralTrainerMixin, Trainer):
            spectral = {"lam": 2e-3, "reduction": "sum"}

    `spectral` holds the arguments of `SpectralRegularizer`; evaluation reports the task's loss alone.
    """

    spectral: dict[str, Any] = {}  # noqa: RUF012 - replaced as a whole by subclasses
    _regularizer: SpectralRegularizer | None = None

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
        """(1 - lambda) times the trainer's loss plus lambda L_reg while the model trains."""
        found = super().compute_loss(model, inputs, return_outputs=return_outputs, **more)  # type: ignore[misc]
        if not model.training:
            return found
        if self._regularizer is None:
            self._regularizer = SpectralRegularizer(_plain(model), **self.spectral)
        task, outputs = found if return_outputs else (found, None)
        # Where the loss of each of several backward passes is its part of a mean already, so is the penalty.
        divided = getattr(self, "loss_is_scaled_for_ga", None)
        if divided is None:  # as Trainer.training_step decides
            counted = getattr(self, "model_accepts_loss_kwargs", False) and more.get("num_items_in_batch") is not None
            divided = counted or getattr(self, "compute_loss_func", None) is not None
        steps = getattr(self, "current_gradient_accumulation_steps", 1) if divided else 1
        weighted = (1 - self._regularizer.lam) * task
        part = self._regularizer.total(task.detach() * 0) / steps
        loss = weighted + part
        return (loss, outputs) if return_outputs else loss


def _plain(model: Any) -> Any:
    """The module inside what data-parallel training wraps around it."""
    while hasattr(model, "module"):
        model = model.module
    return model


def lightning_callback(module: Any = None, **options: Any) -> Any:
    """A Lightning callback that turns gradients of L_task into those of Eq. 7 before each step of the optimizer.

        Trainer(callbacks=[lightning_callback(lam=2e-3, reduction="sum")])

    Args:
        module: what is regularised; the LightningModule itself if this is None.
        options: the arguments of `SpectralRegularizer`.

    Raises:
        RequestError: Lightning is not installed.
    """
    base: Any = _lightning().Callback

    class SpectralCallback(base):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            self.regularizer = SpectralRegularizer(pl_module if module is None else module, **options)

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            self.regularizer.add_gradients()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.log("l_reg", self.regularizer().detach())

    return SpectralCallback()


def _lightning() -> Any:
    """Lightning under either of its names."""
    for name in ("lightning.pytorch", "pytorch_lightning"):
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            return importlib.import_module(name)
    raise RequestError("this needs Lightning", hint="pip install lightning")
