"""The training loop, to be read from top to bottom: data, network, optimiser, epochs, validation, checkpoint.

Test clips are never touched here. The result of a fold depends on parameters, inputs and seed alone: the order of batches, augmentation
and dropout are keyed by (seed, epoch), so that an interrupted training ends in the same bytes as an undisturbed one.
Several ranks may run it together (``ser.training.data_parallel``): each trains on its share of every batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ser.model import linear
from ser.model.losses import class_weights, loss
from ser.model.network import Network
from ser.params.train import Train
from ser.training import batches, checkpoint, data_parallel, hidden, inference
from ser.training.augment import Draws, augment, draw, first_frames, mask, mask_time, with_noisy_recordings
from ser.training.inference import Trained
from ser.training.noise import Recordings
from ser.training.optimisation import average, learning_rate, make_optimizer
from ser.training.without_epochs import HISTORY, Fold, score


@dataclass
class State:
    """What one epoch hands to the next; all but ``compiled`` is in the checkpoint.

    Attributes:
        network: being trained; its buffers hold the normalisation statistics.
        compiled: the network as training calls it, compiled where ``train.compile`` asks for it.
        averaged: the weights that are validated and kept.
        optimizer: of the network's weights.
        best: with ``keep: best`` the averaged weights of the best epoch so far, else empty.
        best_ua: the best validation UA so far; −1 before the first epoch.
        since_best: epochs since then.
        history: one row of ``HISTORY`` per finished epoch, after a warm start with epoch 0 before them.
    """

    network: Network
    compiled: Callable[..., Tensor]
    averaged: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    best: dict[str, Tensor] = field(default_factory=dict)
    best_ua: float = -1.0
    since_best: int = 0
    history: list[dict] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Number of finished epochs. Epoch 0, which a warm start records before training, does not count."""
        return self.history[-1]["epoch"] if self.history else 0


def train_fold(
    corpus: batches.Corpus, fold: Fold, trained: Trained, say: Callable[[str], None], recordings: Recordings | None = None
) -> tuple[dict[str, Tensor], list[dict]]:
    """Train one network.

    Args:
        corpus: frames and labels.
        fold: which clips to train and validate on.
        trained: classes and parameters.
        say: receives one line per epoch.
        recordings: of the corpus, to add noise to; None where that is not asked for.

    Returns:
        The kept weights (with the normalisation statistics) and one row of ``HISTORY`` per epoch.
    """
    params = trained.train
    state = start(corpus, fold, trained)
    if resume(state, fold.checkpoint):
        say(f"fold {fold.number} seed {fold.seed}: resumes after epoch {state.epochs} of {params.epochs}")
    elif params.warm_start == "linear":
        say(warm_start(state, corpus, fold, trained))
    data_parallel.check_same_start(state.epochs, corpus.device)

    began, epochs_before = time.monotonic(), state.epochs
    for epoch in range(epochs_before + 1, params.epochs + 1):
        if params.patience and state.since_best >= params.patience:
            break
        train_loss, lr = run_epoch(state, corpus, fold, trained, recordings)
        valid_loss, valid_ua = validate(state, corpus, fold, trained)
        note(state, fold, params, epoch, train_loss, valid_loss, valid_ua, lr)
        if data_parallel.rank() == 0:
            save(state, fold.checkpoint)
        say(_line(state.history[-1], params.epochs, len(fold.train), began, epoch - epochs_before))

    kept = state.best if params.keep == "best" and state.best else state.averaged
    return {name: value.cpu() for name, value in kept.items()}, state.history


def start(corpus: batches.Corpus, fold: Fold, trained: Trained) -> State:
    """A network with random weights drawn from the fold's seed, and the statistics of its training clips."""
    torch.manual_seed(fold.seed)
    network = inference.new_network(trained).to(corpus.device)
    found = batches.view_statistics(corpus, fold.train)
    network.set_statistics({name: (torch.from_numpy(view.mean), torch.from_numpy(view.scale)) for name, view in found.items()})
    averaged = {name: value.clone() for name, value in network.state_dict().items()}
    compiled = torch.compile(network, dynamic=True) if trained.train.compile else network
    return State(network, compiled, averaged, make_optimizer(network, trained.train))


def warm_start(state: State, corpus: batches.Corpus, fold: Fold, trained: Trained) -> str:
    """Fit the regression on the fold's training clips, make it part of the network, and note epoch 0; returns a line that says so.

    Every rank fits the same regression, on the states that the network pools. The network's own classifier starts at zero, so epoch 0
    is the regression alone. With ``keep: best`` it is the first candidate.
    """
    assert trained.encoder is not None
    heard = batches.with_copies(fold.train, corpus.clips, corpus.copies)
    rows = np.concatenate([heard, fold.valid])
    known = _pooled_states(state.network, corpus, rows)
    parts = np.arange(len(heard)), np.arange(len(heard), len(rows))
    target = corpus.target.cpu().numpy()[rows]
    found = linear.fit(known, target, *parts, trained.encoder.layers, len(trained.classes), trained.model.linear)
    state.network.set_linear(found.machine.to(corpus.device))
    for name, value in state.network.state_dict().items():
        state.averaged[name].copy_(value)
    train_loss, _ = score(state.network, corpus, fold.train, trained)
    valid_loss, valid_ua = score(state.network, corpus, fold.valid, trained)
    note(state, fold, trained.train, 0, train_loss, valid_loss, valid_ua, 0.0)
    return f"fold {fold.number} seed {fold.seed}: starts from a regression on hidden states {list(found.layers)}, valid UA {valid_ua:.3f}"


def resume(state: State, path: Path) -> bool:
    """Take up the training from its checkpoint; returns whether there is one."""
    resumed = checkpoint.read(path)
    if resumed is None:
        return False
    tensors, facts = resumed
    state.network.load_state_dict(_named(tensors, "network."))
    for name, value in _named(tensors, "averaged.").items():
        state.averaged[name].copy_(value)
    state.best = _named(tensors, "best.")
    checkpoint.restore_optimizer(state.optimizer, tensors)
    state.history, state.best_ua, state.since_best = facts["history"], facts["best_ua"], facts["since_best"]
    return True


def run_epoch(state: State, corpus: batches.Corpus, fold: Fold, trained: Trained, recordings: Recordings | None) -> tuple[float, float]:
    """Train on each batch of the training clips; returns their mean loss and the last learning rate."""
    params, network, epoch = trained.train, state.network, state.epochs + 1
    target = corpus.target.cpu().numpy()
    counts = torch.from_numpy(np.bincount(target[fold.train], minlength=len(trained.classes)))
    weights = class_weights(counts, params).to(corpus.device)
    draws = draw(params.augment, len(target), fold.seed, epoch, corpus.device)
    if recordings is not None:
        corpus = with_noisy_recordings(corpus, recordings, fold.train, draws, params.augment, (fold.seed, epoch))
    heard = batches.one_of_each(fold.train, corpus.clips, corpus.copies, params.augment.copies_share, (fold.seed, epoch))
    cut = batches.epoch_batches(heard, params.batch_size, target if params.sampling == "balanced" else None, (fold.seed, epoch))
    network.train()
    torch.manual_seed(_key(fold.seed, epoch) + data_parallel.rank())  # dropout
    total = 0.0
    for step, rows in enumerate(cut):
        lr = learning_rate(params, (epoch - 1 + step / len(cut)) / params.epochs)
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        views, lengths, soft = _mixed(corpus, rows, draws, trained, network)  # the whole batch, because mixup blends its clips
        mine = data_parallel.share(len(rows))
        with torch.autocast(corpus.device.type, torch.bfloat16, enabled=params.precision == "bf16"):
            logits = state.compiled({name: frames[mine] for name, frames in views.items()}, lengths[mine])
        value = loss(logits.float(), soft[mine], params, weights) * _part(soft, mine, weights)
        state.optimizer.zero_grad(set_to_none=True)
        value.backward()
        data_parallel.sum_gradients(network.parameters())
        if params.clip_norm:
            torch.nn.utils.clip_grad_norm_(network.parameters(), params.clip_norm)
        state.optimizer.step()
        average(state.averaged, network, params.ema)
        total += value.item() * len(rows)
    (total,) = data_parallel.summed(total, device=corpus.device)
    return total / sum(map(len, cut)), lr


def validate(state: State, corpus: batches.Corpus, fold: Fold, trained: Trained) -> tuple[float, float]:
    """Cross-entropy and UA of the averaged weights on the validation clips, computed by rank 0 and sent to all ranks."""
    valid_loss, valid_ua = 0.0, 0.0
    if data_parallel.rank() == 0:
        current = {name: value.clone() for name, value in state.network.state_dict().items()}
        state.network.load_state_dict(state.averaged)
        valid_loss, valid_ua = score(state.network, corpus, fold.valid, trained)
        state.network.load_state_dict(current)
    valid_loss, valid_ua = data_parallel.summed(valid_loss, valid_ua, device=corpus.device)
    return valid_loss, valid_ua


def note(state: State, fold: Fold, params: Train, epoch: int, train_loss: float, valid_loss: float, valid_ua: float, lr: float) -> None:
    """Add a finished epoch to the history, and keep its weights if they are the best so far and wanted."""
    row = [fold.number, fold.seed, epoch, round(train_loss, 5), round(valid_loss, 5), round(valid_ua, 5), lr]
    state.history.append(dict(zip(HISTORY, row, strict=True)))
    better = valid_ua > state.best_ua
    state.best_ua, state.since_best = (valid_ua, 0) if better else (state.best_ua, state.since_best + 1)
    if better and params.keep == "best":
        state.best = {name: value.clone() for name, value in state.averaged.items()}


def save(state: State, path: Path) -> None:
    """Write the checkpoint that ``resume`` reads."""
    states = {"network.": state.network.state_dict(), "averaged.": state.averaged, "best.": state.best}
    tensors = {prefix + name: value for prefix, named in states.items() for name, value in named.items()}
    facts = {"history": state.history, "best_ua": state.best_ua, "since_best": state.since_best}
    checkpoint.write(path, tensors | checkpoint.optimizer_tensors(state.optimizer), facts)


def _pooled_states(network: Network, corpus: batches.Corpus, rows: np.ndarray) -> np.ndarray:
    """What a network's regression reads of whole clips, float32 (len(rows), columns)."""
    pieces = []
    for part in torch.tensor(rows, device=corpus.device).split(64):
        length = corpus.length[part]
        views = batches.gather_states(corpus, part, torch.zeros_like(part), length)
        pieces.append(network.pooled_states(views, length))
    return torch.cat(pieces).cpu().numpy()


def _key(seed: int, epoch: int) -> int:
    return int(np.random.default_rng((seed, epoch, 4)).integers(2**62))


def _mixed(
    corpus: batches.Corpus, rows: np.ndarray, draws: Draws, trained: Trained, network: Network
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Augmented views, lengths and soft targets of a batch; mixup (Zhang et al. 2018) blends each clip with its neighbour in the batch."""
    params = trained.train.augment
    at = torch.from_numpy(rows).to(corpus.device)
    views, lengths = augment(corpus, at, draws, params, trained.max_frames, trained.frames_per_second)
    states = batches.gather_states(corpus, at, first_frames(corpus, at, draws, trained.max_frames), lengths)
    soft = batches.targets(corpus, at, len(trained.classes))
    if params.mixup_alpha > 0:
        weight = draws.mix[at]
        views = {name: torch.lerp(frames.roll(1, 0), frames, weight[:, None, None]) for name, frames in views.items()}
        states = {name: hidden.mixed(values, network.token_counts(lengths), weight) for name, values in states.items()}
        soft = torch.lerp(soft.roll(1, 0), soft, weight[:, None])
    uniform = draws.uniform[at]
    masked = {name: mask(frames, lengths, uniform, network.mean(name), params) for name, frames in views.items()}
    states = {
        name: mask_time(values, network.token_counts(lengths), uniform, network.mean(name), params) for name, values in states.items()
    }
    return masked | states, lengths, soft


def _part(soft: Tensor, mine: slice, weights: Tensor) -> Tensor:
    """Weight of this rank's mean loss in that of the whole batch: its part of the sum that ``loss`` divides by."""
    weight = soft @ weights
    return weight[mine].sum() / weight.sum()


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _line(row: dict, epochs: int, clips: int, began: float, done: int) -> str:
    seconds = (time.monotonic() - began) / done
    return (
        f"fold {row['fold']} seed {row['seed']} epoch {row['epoch']:>3}/{epochs}  loss {row['train_loss']:.3f}  "
        f"valid {row['valid_loss']:.3f}  valid UA {row['valid_ua']:.3f}  {clips / seconds:,.0f} clips/s"
    )
