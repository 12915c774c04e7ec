"""Every key of a config.json that transformers knows for the families of models that are read here.

    pip install transformers==5.24.0
    python tests/generators/config_keys.py > tests/fixtures/models/config_keys.json

For each `model_type`: the fields of its configuration class, other names of them, what the class takes out of a file
that is no field, and every name that its model's code reads from a configuration. `common` holds what the classes
share, what the code that all models share reads, and the settings of generation; `rope` what stands within
`rope_parameters`. PyTorch is not needed: the code of models is looked at, not run.
"""
import ast
import dataclasses
import inspect
import json
import re
from pathlib import Path

import transformers
from transformers import CONFIG_MAPPING, GenerationConfig
from transformers.configuration_utils import PreTrainedConfig

FAMILIES = {
    "bert": "bert", "bloom": "bloom", "cohere": "cohere", "cohere2": "cohere2", "distilbert": "distilbert",
    "gemma2": "gemma2", "gemma3": "gemma3", "gemma3_text": "gemma3", "gpt2": "gpt2", "llama": "llama",
    "mistral": "mistral", "qwen2": "qwen2", "qwen3": "qwen3", "roberta": "roberta", "xlm-roberta": "xlm_roberta",
}
SHARED_CODE = [
    "masking_utils.py", "modeling_utils.py", "modeling_layers.py", "modeling_rope_utils.py",
    "integrations/sdpa_attention.py", "integrations/heterogeneity/configuration_utils.py",
]
# What the code of Gemma 3 reads from the configuration of the whole.
VISION = {"image_token_id", "mm_tokens_per_image", "text_config", "vision_config"}
ROOT = Path(transformers.__file__).parent


def is_config(node):
    """Whether an expression is a model's configuration, by its name."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name in ("config", "text_config", "effective_config", "layer_config")


def is_key(name):
    """Whether a name that code reads may stand in a file: it is no code and no setting of the class itself."""
    static = inspect.getattr_static(PreTrainedConfig, name, None)
    code = callable(static) or isinstance(static, (property, classmethod))
    of_class = name in PreTrainedConfig.__annotations__ and name not in PreTrainedConfig.__dataclass_fields__
    of_class = of_class or name in ("default_theta", "is_heterogeneous") or name.startswith("base_model_")
    return not (code or of_class or name.startswith("_"))


def read_by(path):
    """Keys that code reads from a configuration."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and is_config(node.value) and isinstance(node.ctx, ast.Load):
            names.add(node.attr)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            if len(node.args) > 1 and is_config(node.args[0]) and isinstance(node.args[1], ast.Constant):
                names.add(node.args[1].value)
    return {name for name in names if is_key(name)}


def taken(source):
    """Keys that are taken out of what a class is given beside its fields."""
    return set(re.findall(r"""kwargs(?:\.pop|\.get)\(\s*["'](\w+)["']""", source))


def described():
    """Keys that the description of the base class explains."""
    return set(re.findall(r"^        (\w+) \(`", PreTrainedConfig.__doc__, re.M))


def fields_of(config):
    """Fields of a class, other names of them, and what else it takes or writes."""
    names = {f.name for f in dataclasses.fields(config)} | set(config().to_dict())
    names |= set(config.attribute_map) | set(config.attribute_map.values())
    return names | taken(inspect.getsource(config))


def main():
    init = inspect.getsource(PreTrainedConfig.__post_init__)
    rope_code = (ROOT / "modeling_rope_utils.py").read_text()
    common = {f.name for f in dataclasses.fields(PreTrainedConfig)} | set(PreTrainedConfig().to_dict())
    common |= described() | taken(init) | taken(rope_code)
    common |= set(GenerationConfig._get_default_generation_params())
    # Of older versions, and what files of quantised weights have.
    common |= {"num_labels", "pruned_heads", "position_embedding_type", "quantization_config", "torch_dtype"}
    fields = {model_type: fields_of(CONFIG_MAPPING[model_type]) for model_type in FAMILIES}
    somewhere = set().union(*fields.values())
    # A name that is the field of a family means something there only.
    common |= set().union(*(read_by(ROOT / path) for path in SHARED_CODE)) - somewhere
    families = {}
    for model_type, folder in FAMILIES.items():
        code = ROOT / "models" / folder / f"modeling_{folder}.py"
        # The code of a family with two classes reads from either; it is looked at for that of the text.
        read = set() if "text_config" in fields[model_type] else read_by(code) - VISION
        families[model_type] = sorted((fields[model_type] | read) - common)
    rope = set(re.findall(r"""rope_parameters(?:_dict)?(?:\[|\.get\(|\.setdefault\()\s*["'](\w+)["']""", rope_code))
    print(json.dumps({
        "transformers": transformers.__version__, "common": sorted(common), "families": families, "rope": sorted(rope),
    }, indent=1))


if __name__ == "__main__":
    main()
