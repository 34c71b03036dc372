"""What an exported Hugging Face folder says about its policy, so that other servers sample it as the run did."""

import json
from pathlib import Path

from torch import Tensor, nn

from trainer.data.codec import ChatCodec

GENERATION = "generation_config.json"
FROM_MODEL = "_from_model_config"  # with it, transformers takes the eos of config.json again


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the buffers that a model's files hold beside its parameters, as Gemma 4's have."""
    saved = model.state_dict().keys()
    return {name: one.detach().to("cpu", copy=True) for name, one in model.named_buffers() if name in saved}


def write_stop_ids(folder: Path) -> None:
    """Name the ids that end a response, the template's end of turn among them, as the eos of generation_config.json.

    A folder without a tokenizer, whose template nobody can render, stays as it is.
    """
    if not (folder / "tokenizer_config.json").is_file():
        return
    file = folder / GENERATION
    settings = json.loads(file.read_text()) if file.is_file() else {}
    eos, ids = settings.get("eos_token_id"), list(ChatCodec(folder).stop_ids)
    if ids != (eos if isinstance(eos, list) else [eos]):
        settings.pop(FROM_MODEL, None)
        file.write_text(json.dumps({**settings, "eos_token_id": ids}, indent=2))
