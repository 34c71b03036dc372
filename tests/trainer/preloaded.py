"""What every learner rank would do first, done once by the server that forks them.

DeepSpeed looks for compilers, and imports PyTorch's when it first looks at an optimizer (`muon_optimizer`);
transformers compiles its patterns of the names of weights.
"""

import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401
import transformers.models.llama.modeling_llama
import transformers.models.qwen2.modeling_qwen2  # noqa: F401
from deepspeed import ops
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import trainer.learner.deepspeed_rank  # noqa: F401

getattr(ops, "__compatible_ops__")  # noqa: B009  it is made when it is asked for
get_checkpoint_conversion_mapping("qwen2")
