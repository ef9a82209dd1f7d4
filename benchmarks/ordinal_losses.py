"""CORN, CORAL and the cumulative link model for ``task=ordinal``, with cross entropy and squared error beside them.

    python -m benchmarks.ordinal_losses frozen|tuned [SEEDS]

Mean ratings of movie review snippets (``corpora.rotten_tomatoes``) in five or nine grades; 300 training rows, 150 for
validation, 1,000 for the test, others for each seed. ``frozen``: mean-pooled vectors of MiniLM, a linear model fitted to the end,
its L2 penalty chosen on validation. ``tuned``: MiniLM is trained as well, with the same settings for all. Prints a line of JSON
for each fit.

CORN: Shi, Cao and Raschka 2021, arXiv 2111.08851. CORAL: Cao, Mirjalili and Raschka 2020, arXiv 1901.07884. Cumulative link:
McCullagh 1980, "Regression Models for Ordinal Data". All are read by their median grade, squared error by rounding.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid, softplus
from transformers import AutoModel, AutoTokenizer, logging

from benchmarks.corpora import cache_folder, rotten_tomatoes
from bert_ft.models.encoder_name import resolve_name
from bert_ft.tasks.ordinal import Ordinal

EDGES = {5: (-2.0, -0.7, 0.7, 2.0), 9: (-2.6, -2.0, -1.4, -0.5, 0.5, 1.4, 2.0, 2.6)}
TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 300, 150, 1000
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
EPOCHS, BATCH_SIZE, LR, HEAD_LR = 5, 16, 2e-4, 1e-3
TUNED = ("CORN", "CORN, biases set", "CORAL", "cumulative link")
MAX_LENGTH = 64
POOL = 2500  # rows that have vectors


class Corn(nn.Linear):
    """The package's task on independent outputs."""

    def __init__(self, width: int, train: Tensor, num_grades: int) -> None:
        super().__init__(width, num_grades - 1)
        self.task = Ordinal(order=tuple(map(str, range(num_grades))))

    def loss(self, outputs: Tensor, grades: Tensor) -> Tensor:
        return self.task.plain_loss(outputs, grades)

    def predicted(self, outputs: Tensor) -> Tensor:
        return self.task.predicted(outputs)


class CornWithBiases(Corn):
    """The same with biases that start at the log-odds of the training rows."""

    def __init__(self, width: int, train: Tensor, num_grades: int) -> None:
        super().__init__(width, train, num_grades)
        steps = torch.arange(num_grades - 1)
        reached = (train[:, None] >= steps).sum(0).clamp(min=1)
        above = ((train[:, None] > steps).sum(0) / reached).clamp(0.01, 0.99)
        with torch.no_grad():
            self.bias.copy_(above.logit())


class Coral(nn.Module):
    """One score and a bias for each step of the scale; the mean of the binary losses."""

    def __init__(self, width: int, train: Tensor, num_grades: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)
        above = (train[:, None] > torch.arange(num_grades - 1)).float().mean(0).clamp(0.01, 0.99)
        self.bias = nn.Parameter(above.logit())

    def forward(self, features: Tensor) -> Tensor:
        return self.score(features) + self.bias

    def loss(self, outputs: Tensor, grades: Tensor) -> Tensor:
        above = (grades[:, None] > torch.arange(outputs.shape[1])).float()
        return binary_cross_entropy_with_logits(outputs, above)

    def predicted(self, outputs: Tensor) -> Tensor:
        return (outputs > 0).sum(1)


class CumulativeLink(Coral):
    """The same with falling biases, and minus the log-probability of the grade."""

    def __init__(self, width: int, train: Tensor, num_grades: int) -> None:
        super().__init__(width, train, num_grades)
        steps = (self.bias[:-1] - self.bias[1:]).detach().clamp(min=0.05)
        self.first = nn.Parameter(self.bias[:1].detach())
        self.steps = nn.Parameter(steps.expm1().log())  # the inverse of softplus
        del self.bias

    def forward(self, features: Tensor) -> Tensor:
        falling = torch.cat([self.first, self.first - softplus(self.steps).cumsum(0)])
        return self.score(features) + falling

    def loss(self, outputs: Tensor, grades: Tensor) -> Tensor:
        ends = outputs.new_full((len(outputs), 1), 50.0)
        bounds = torch.cat([ends, outputs, -ends], 1)
        high, low = bounds.gather(1, grades[:, None]), bounds.gather(1, grades[:, None] + 1)
        # log(sigmoid(high) - sigmoid(low)), without the difference of two numbers near 1
        return -(logsigmoid(high) + logsigmoid(-low) + torch.log(-torch.expm1(low - high))).mean()


class Classes(nn.Linear):
    """Cross entropy, which knows no order."""

    def __init__(self, width: int, train: Tensor, num_grades: int) -> None:
        super().__init__(width, num_grades)

    def loss(self, outputs: Tensor, grades: Tensor) -> Tensor:
        return cross_entropy(outputs, grades)

    def predicted(self, outputs: Tensor) -> Tensor:
        return (outputs.softmax(1).cumsum(1)[:, :-1] < 0.5).sum(1)


class Squared(nn.Linear):
    """Squared error of the grade's number."""

    def __init__(self, width: int, train: Tensor, num_grades: int) -> None:
        super().__init__(width, 1)
        self.num_grades = num_grades
        with torch.no_grad():
            self.bias.fill_(float(train.float().mean()))

    def loss(self, outputs: Tensor, grades: Tensor) -> Tensor:
        return (outputs[:, 0] - grades).square().mean()

    def predicted(self, outputs: Tensor) -> Tensor:
        return outputs[:, 0].round().clamp(0, self.num_grades - 1).long()


LOSSES: dict[str, Callable[..., nn.Module]] = {
    "CORN": Corn,
    "CORN, biases set": CornWithBiases,
    "CORAL": Coral,
    "cumulative link": CumulativeLink,
    "cross entropy": Classes,
    "squared error": Squared,
}


def ratings() -> tuple[list[str], np.ndarray]:
    """Return all snippets, and the mean rating of each."""
    rotten_tomatoes()  # fetches the file
    lines = (
        (cache_folder() / "movieReviewSnippets_GroundTruth.txt").read_text(encoding="latin-1").splitlines()
    )
    rows = [line.split("\t", 2) for line in lines]
    return [text.strip() for _, _, text in rows], np.array([float(rating) for _, rating, _ in rows])


def scores(true: Tensor, predicted: Tensor, num_grades: int) -> dict[str, float]:
    return {
        "quadratic_kappa": cohen_kappa_score(
            true, predicted, weights="quadratic", labels=list(range(num_grades))
        ),
        "mae": mean_absolute_error(true, predicted),
        "accuracy": accuracy_score(true, predicted),
    }


def splits(num_rows: int, seed: int) -> list[np.ndarray]:
    order = np.random.default_rng(seed).permutation(num_rows)
    ends = np.cumsum([TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS])
    return np.split(order[: ends[-1]], ends[:-1])


class Encoder(nn.Module):
    """MiniLM with mean pooling."""

    def __init__(self) -> None:
        super().__init__()
        path = resolve_name("embedded/all-MiniLM-L6-v2")
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModel.from_pretrained(path)

    def forward(self, texts: list[str]) -> Tensor:
        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
        )
        mask = batch["attention_mask"][:, :, None]
        return (self.model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)


@torch.no_grad()
def vectors(encoder: nn.Module, texts: list[str]) -> Tensor:
    """Return the vectors of texts, in batches of similar length."""
    encoder.eval()
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    found: list[Tensor] = [torch.empty(0)] * len(texts)
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        for row, vector in zip(rows, encoder([texts[row] for row in rows]), strict=True):
            found[row] = vector
    return torch.stack(found)


def frozen(num_seeds: int) -> Iterator[dict[str, object]]:
    texts, numbers = ratings()
    pool = np.random.default_rng(0).permutation(len(texts))[:POOL]
    texts, numbers = [texts[row] for row in pool], numbers[pool]
    features = vectors(Encoder(), texts)
    for num_grades, edges in EDGES.items():
        grades = torch.from_numpy(np.searchsorted(edges, numbers))
        for seed in range(num_seeds):
            train, validation, test = splits(len(texts), seed)
            center, scale = features[train].mean(0), features[train].std(0)
            inputs = (features - center) / scale
            for name, make in LOSSES.items():
                best: tuple[float, nn.Module] | None = None
                for penalty in PENALTIES:
                    torch.manual_seed(seed)
                    head = make(inputs.shape[1], grades[train], num_grades)
                    fit(head, inputs[train], grades[train], penalty)
                    kappa = scores(grades[validation], head.predicted(head(inputs[validation])), num_grades)
                    if best is None or kappa["quadratic_kappa"] > best[0]:
                        best = kappa["quadratic_kappa"], head
                assert best is not None
                found = scores(grades[test], best[1].predicted(best[1](inputs[test])), num_grades)
                yield {"loss": name, "grades": num_grades, "seed": seed, **found}


def fit(head: nn.Module, inputs: Tensor, grades: Tensor, penalty: float) -> None:
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")
    matrices = [parameter for parameter in head.parameters() if parameter.ndim == 2]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = head.loss(head(inputs), grades) + penalty * sum(each.square().sum() for each in matrices) / 2
        loss.backward()
        return loss

    optimizer.step(closure)


def tuned(num_seeds: int) -> Iterator[dict[str, object]]:
    texts, numbers = ratings()
    grades = torch.from_numpy(np.searchsorted(EDGES[5], numbers))
    for seed in range(num_seeds):
        train, _, test = splits(len(texts), seed)
        for name in TUNED:
            torch.manual_seed(seed)
            encoder = Encoder()
            head = LOSSES[name](384, grades[train], 5)
            groups = [
                {"params": encoder.parameters(), "lr": LR},
                {"params": head.parameters(), "lr": HEAD_LR},
            ]
            optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
            steps = EPOCHS * -(-TRAIN_ROWS // BATCH_SIZE)
            schedule = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step, steps=steps: min((step + 1) / (0.1 * steps), 1 - step / steps)
            )
            order = torch.Generator().manual_seed(seed)
            encoder.train()
            for _ in range(EPOCHS):
                for batch in torch.randperm(TRAIN_ROWS, generator=order).split(BATCH_SIZE):
                    rows = train[batch.numpy()]
                    loss = head.loss(head(encoder([texts[row] for row in rows])), grades[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_([*encoder.parameters(), *head.parameters()], 1.0)
                    optimizer.step()
                    schedule.step()
            with torch.no_grad():
                predicted = head.predicted(head(vectors(encoder, [texts[row] for row in test])))
            yield {"loss": name, "grades": 5, "seed": seed, **scores(grades[test], predicted, 5)}


if __name__ == "__main__":
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    run = {"frozen": frozen, "tuned": tuned}[sys.argv[1]]
    for line in run(int(sys.argv[2]) if len(sys.argv) > 2 else 3):
        print(json.dumps(line), flush=True)
