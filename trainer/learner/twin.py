"""The twin as the driver and a scorer see it: a copy of the policy that is trained beside it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from trainer.data.tokens import Float32, Targets, TokenBatch
from trainer.learner.driver import Learner
from trainer.learner.first_ratio import check_learned


class Twin:
    """The twin on the N rows of one update, with R response tokens (`trainer.scorers.Twin`)."""

    def __init__(self, learner: Learner, tokens: TokenBatch) -> None:
        self._learner = learner
        self._tokens = tokens
        self._logprobs: Float32 | None = None

    def logprobs(self) -> Float32:
        """Its log-prob of every response token, as it is now. float32 [R], nats"""
        if self._logprobs is None:
            with _told():
                self._logprobs = self._learner.score(self._tokens).logprobs
            assert self._logprobs is not None  # `twin_config_of` asks for them
        return self._logprobs

    def ascend(self, credit: NDArray[np.float64]) -> float:
        """One optimizer step up the gradient of sum_i credit_i log p(response of row i). credit: float64 [N]

        Returns the norm of the gradient before clipping; not finite where the step was skipped. Raises
        FloatingPointError after learner.max_skipped_steps skipped steps in a row, and RatioNotOne.
        """
        # The surrogate at ratio 1 has this gradient, and the loss is a mean over the tokens.
        targets = Targets(
            advantage=(credit * self._tokens.num_response_tokens).astype(np.float32),
            row_mask=np.ones(self._tokens.num_rows, np.bool_),
            old_logprobs=self.logprobs(),
        )
        with _told():
            report = self._learner.learn(self._tokens, targets, seed=0)
        check_learned(report, self._learner.config)
        self._logprobs = None
        return report.grad_norm


@contextmanager
def _told() -> Iterator[None]:
    """Say whose weights or gradients are not finite: the remedies of the policy would not help."""
    try:
        yield
    except FloatingPointError as error:
        facts = str(error).split(":")[0]
        raise FloatingPointError(
            f"the scorer's copy of the policy: {facts}: lower scorer.learning_rate (null takes learner.learning_rate)"
        ) from error
