"""The model that a run starts from instead of random weights, and what has to stay as it is there."""

from dataclasses import dataclass

from trainwright.core.errors import TokenizerMismatch
from trainwright.core.records import Shape, Start, Tokenizer, TokenSet


@dataclass(frozen=True)
class Origin:
    """What a run starts from, with what has to stay as it was: the model's shape and the tokenizer.

    `start` is as it stands in a plan; None where the shape itself names the weights, being that of a model made elsewhere.
    """

    shape: Shape
    tokenizer: Tokenizer
    start: Start | None


def require_same_tokenizer(origin: Origin, token_set: TokenSet) -> None:
    """Raises TokenizerMismatch where the tokens mean something else to the model that is started from."""
    if token_set.tokenizer_fingerprint != origin.tokenizer.fingerprint:
        raise TokenizerMismatch(
            f"The tokens were made with the tokenizer {token_set.tokenizer_fingerprint[:12]}; the model that the run "
            f"starts from reads {origin.tokenizer.fingerprint[:12]}.",
            why="The same ids stand for other text in another tokenizer, so the weights would be worth nothing.",
            next_step="Leave the tokenizer section out: a run that starts from a model uses that model's tokenizer.",
        )
